import { describe, expect, it } from "vitest";
import { compareEvaluations } from "../../../src/eval/compare/compare.ts";
import { type Evaluation, readEvaluation } from "../../../src/eval/compare/file.ts";
import { placesOf, sequencesOf } from "../../../src/eval/compare/names.ts";
import { sharedProblems, tellingLine } from "../../../src/eval/compare/problems.ts";
import { passAtK } from "../../../src/eval/solve.ts";
import { evaluationText, type FileOptions, type Told } from "./fixtures.ts";

const read = (name: string, told: readonly Told[], options: FileOptions = {}, file = `${name}.json`): Evaluation =>
  readEvaluation(evaluationText(name, told, options), file);
const checkpoint = (step: number, told: readonly Told[], eval_loss: number | null = null, run = "out"): Evaluation => ({
  ...read(`checkpoint-${step}`, told, { adapter: `${run}/checkpoint-${step}` }),
  eval_loss,
});
const yes = [1, 1] as const;
const no = [0, 1] as const;

describe("readEvaluation", () => {
  it("reads Unsloth's own form: no fields of ours, and records that hold an error alone", () => {
    const told: Told[] = [[5, 8], [3, 8], "error", [0, 8]];
    const found = readEvaluation(evaluationText("merged", told, { unsloth: true, dataset: "aime_combined" }), "m.json");
    expect(found).toMatchObject({ model_type: "merged", dataset: "aime_combined", adapter: null, model: null, ks: [] });
    expect(found.problems.map(({ solved, n_correct, n_total }) => [solved, n_correct, n_total])).toEqual([
      [true, 5, 8],
      [true, 3, 8],
      [false, 0, 0],
      [false, 0, 8],
    ]);
    // its vote is counted here: right where more than half are, and null where there are no responses
    expect(found.problems.map(({ majority }) => majority)).toEqual([true, false, null, false]);
  });

  it.each([
    ["{", "it is not JSON"],
    ["[]", "an evaluation written by qwench eval has results and records; this is a list"],
    ['{"results": {}}', "records is missing"],
    ['{"records": {}}', "results is missing"],
    ['{"results": {"model_type": "a"}, "records": {}}', "results.dataset must be a name, not nothing"],
    ['{"results": {"model_type": "a", "dataset": "b"}, "records": {}}', "its records are empty"],
    ['{"results": {"model_type": "a", "dataset": "b"}, "records": [1]}', "its records must be an object, not a list"],
    ['{"results": {"model_type": "a", "dataset": "b"}, "records": {"7": 1}}', "record 7 must be an object, not 1"],
  ])("refuses %s", (text, message) => {
    expect(() => readEvaluation(text, "x.json")).toThrow(message);
    expect(() => readEvaluation(text, "x.json")).toThrow("Cannot compare x.json: ");
  });

  it.each([
    [{ problem: undefined }, "record 0: problem must be text, not nothing"],
    [{ is_correct: "yes" }, 'record 0: is_correct must be true or false, not "yes"'],
    [{ n_correct: undefined }, "record 0: n_correct must be a count, not nothing"],
    [{ n_total: 1.5 }, "record 0: n_total must be a count, not 1.5"],
    [{ is_correct: false }, "record 0: is_correct false contradicts 1 of 2 correct"],
    [{ n_correct: 3 }, "record 0: is_correct true contradicts 3 of 2 correct"],
  ])("refuses a record with %j", (change, message) => {
    const file = JSON.parse(evaluationText("a", [[1, 2]]));
    Object.assign(file.records[0], change);
    expect(() => readEvaluation(JSON.stringify(file), "x.json")).toThrow(message);
  });
});

describe("names and order", () => {
  it("uses model_type, then the end of a path, then the file name", () => {
    const told = [yes];
    const names = placesOf([
      read("base", told),
      read("checkpoint-200", told, { adapter: "runs/deep/checkpoint-200/" }),
      read("checkpoint-200", told, { adapter: "./runs/diverse/checkpoint-200" }),
      read("twin", told, {}, "a/one.json"),
      read("twin", told, {}, "a/two.json"),
    ]).map(({ name }) => name);
    expect(names).toEqual(["base", "deep/200", "diverse/200", "twin (one)", "twin (two)"]);
  });

  it("keeps one name for a model on several data sets", () => {
    const places = placesOf([read("base", [yes], { dataset: "a" }), read("base", [yes], { dataset: "b" })]);
    expect(places.map(({ name }) => name)).toEqual(["base", "base"]);
  });

  it("orders a run's checkpoints by step, with the final result last", () => {
    const places = placesOf([
      read("final", [yes], { adapter: "out" }),
      checkpoint(1000, [yes]),
      checkpoint(200, [yes]),
      read("base", [yes]),
      read("other", [yes]),
    ]);
    expect(places.map(({ run, step }) => [run, step])).toEqual([
      ["out", null],
      ["out", 1000],
      ["out", 200],
      [null, null],
      [null, null],
    ]);
    expect(sequencesOf(places)).toEqual([
      [2, 1, 0],
      [3, 4],
    ]);
  });

  it("recognises a checkpoint by its name if the file has no path", () => {
    const [place] = placesOf([read("checkpoint-300", [yes], { unsloth: true })]);
    expect(place).toEqual({ name: "checkpoint-300", run: "", step: 300 });
  });
});

describe("common problems", () => {
  it("are matched by their text, for any numbering", () => {
    const texts = ["one", "two", "three"];
    const a = read("a", [yes, no, yes], { texts });
    const b = read("b", [yes, no], { texts: ["three", " two\n"], ids: ["x", "y"] });
    const shared = sharedProblems([a, b], ["a", "b"]);
    expect(shared.map(({ id, judged }) => [id, ...judged.map(({ solved }) => solved)])).toEqual([
      ["1", false, false],
      ["2", true, true],
    ]);
  });

  it("are distinguished by their ids if a text occurs twice", () => {
    const a = read("a", [yes, no], { texts: ["same", "same"], ids: ["p", "q"] });
    const b = read("b", [no, yes], { texts: ["same", "same"], ids: ["q", "p"] });
    const shared = sharedProblems([a, b], ["a", "b"]);
    expect(shared.map(({ id, judged }) => [id, ...judged.map(({ solved }) => solved)])).toEqual([
      ["p", true, true],
      ["q", false, false],
    ]);
  });

  it("carry their source in their id where there are several", () => {
    const a = read("a", [yes, no], { ids: ["1", "1"], sources: ["2024", "2025-I"] });
    expect(sharedProblems([a, a], ["a", "b"]).map(({ id }) => id)).toEqual(["2024/1", "2025-I/1"]);
  });

  it("are told by their first line, a Python stub by the function to write", () => {
    expect(tellingLine("\n  Tom has 3.\nHow many?")).toBe("Tom has 3.");
    expect(tellingLine("from typing import List\n\ndef helper(x):\n    ...\n\n\ndef sum(a: int):\n    '''a'''")).toBe(
      "def sum(a: int):",
    );
    expect(tellingLine("x".repeat(500))).toHaveLength(160);
  });
});

describe("compareEvaluations", () => {
  const base = read("base", [yes, yes, no, no, no, yes]);
  const first = checkpoint(16, [yes, yes, yes, no, no, yes], 1.5);
  const second = checkpoint(32, [yes, yes, yes, yes, no, yes], 1.2);
  const third = checkpoint(48, [yes, no, yes, yes, no, yes], 1.3);

  it("names a planted regression and the planted best checkpoint", () => {
    const { datasets, notes } = compareEvaluations([base, third, first, second]);
    expect(notes).toEqual([]);
    const [{ models, regressions, gains, best, stability }] = datasets;
    expect(models.map(({ name, solved }) => [name, solved])).toEqual([
      ["base", 3],
      ["checkpoint-16", 4],
      ["checkpoint-32", 5],
      ["checkpoint-48", 4],
    ]);
    expect(regressions).toEqual([
      {
        model: "checkpoint-48",
        id: "1",
        problem: "Problem 1: how much is 1 + 1?",
        now: { n_correct: 0, n_total: 1 },
        before: { model: "checkpoint-32", n_correct: 1, n_total: 1 },
      },
    ]);
    expect(gains.map(({ model, id }) => `${model} ${id}`)).toEqual([
      "checkpoint-16 2",
      "checkpoint-32 2",
      "checkpoint-32 3",
      "checkpoint-48 2",
      "checkpoint-48 3",
    ]);
    expect(best).toMatchObject({
      by_benchmark: { models: ["checkpoint-32"] },
      beats_base: true,
      by_eval_loss: { value: 1.2, models: ["checkpoint-32"] },
      agree: true,
    });
    expect(stability).toHaveLength(1); // the base is not one of the run's checkpoints
    expect(stability[0]).toMatchObject({ flips: 2, flipping: 2, models: models.slice(1).map(({ name }) => name) });
    expect(stability[0].never).toBeCloseTo(400 / 6);
    // 4, 5 and 4 of 6 solved: percent points around their mean of 4 1/3
    expect(stability[0].std_accuracy).toBeCloseTo((100 / 6) * Math.sqrt((2 * (1 / 9) + 4 / 9) / 2));
  });

  it("reports disagreement of benchmark and validation loss, and ties", () => {
    const worse = { ...second, eval_loss: 1.4 };
    const [{ best }] = compareEvaluations([base, { ...first, eval_loss: 1.1 }, worse, third]).datasets;
    expect(best).toMatchObject({ by_benchmark: { models: ["checkpoint-32"] }, agree: false });
    expect(best.by_eval_loss?.models).toEqual(["checkpoint-16"]);
    const [tied] = compareEvaluations([base, first, third]).datasets;
    expect(tied.best.by_benchmark?.models).toEqual(["checkpoint-16", "checkpoint-48"]);
    const [unknown] = compareEvaluations([base, { ...first, eval_loss: null }, third]).datasets;
    expect(unknown.best).toMatchObject({ by_eval_loss: null, agree: null });
    const none = [no, no, no, no, no, no];
    const [nobody] = compareEvaluations([checkpoint(8, none, 1), checkpoint(16, none, 2)]).datasets;
    expect(nobody.best).toMatchObject({ by_benchmark: null, beats_base: false, agree: null });
  });

  it("calls a checkpoint better only if it is above the base", () => {
    const [{ best }] = compareEvaluations([second, base, first], { base: "checkpoint-32" }).datasets;
    expect(best.beats_base).toBe(false);
  });

  it("keeps the checkpoints of two runs apart", () => {
    const all = [
      base,
      checkpoint(8, [yes, yes, yes, no, no, yes], null, "runs/deep"),
      checkpoint(16, [yes, yes, no, no, no, yes], null, "runs/deep"),
      checkpoint(8, [yes, yes, no, no, no, yes], null, "runs/diverse"),
    ];
    const [{ regressions, models, stability }] = compareEvaluations(all).datasets;
    expect(models.map(({ name }) => name)).toEqual(["base", "deep/8", "deep/16", "diverse/8"]);
    // problem 2 was solved in the other run, which is no regression of this one
    expect(regressions.map(({ model, id }) => `${model} ${id}`)).toEqual(["deep/16 2"]);
    expect(stability).toHaveLength(1);
  });

  it("computes pass@k from records, and none where completions are too few", () => {
    const told: Told[] = [
      [3, 8],
      [0, 8],
      [8, 8],
    ];
    const asked = { results: { pass_at: { "1": 0, "5": 0, "8": 0 } } };
    const few = read("few", [
      [1, 4],
      [0, 4],
      [4, 4],
    ]);
    const [{ models }] = compareEvaluations([read("many", told, asked), few]).datasets;
    const expected = (k: number) => (100 * (passAtK(8, 3, k) + 0 + 1)) / 3;
    expect(models[0].pass_at[1]).toBeCloseTo(100 * (3 / 8 + 1) * (1 / 3), 10);
    expect(models[0].pass_at[5]).toBeCloseTo(expected(5), 10);
    expect(models[0].pass_at[8]).toBeCloseTo(models[0].accuracy, 10);
    expect(models[1].pass_at).toMatchObject({ "5": null, "8": null });
    expect(models[0]).toMatchObject({ avg_completion_tokens: 10 });
    expect(models[0].majority_accuracy).toBeCloseTo(100 / 3, 10);
  });

  it("gives intervals of the difference, paired over problems", () => {
    const a = read("a", Array(40).fill(no).concat(Array(40).fill(yes)));
    const b = read("b", Array(80).fill(yes));
    const [{ models }] = compareEvaluations([a, b]).datasets;
    expect(models[0].improvement).toBeNull();
    const { accuracy, pass_at_1 } = models[1].improvement!;
    expect(accuracy).toEqual(pass_at_1);
    expect(accuracy.mean).toBe(50);
    // √(0.5·0.5/80)·1.96 is 11.0 points
    expect(accuracy.low).toBeGreaterThan(37);
    expect(accuracy.low).toBeLessThan(41);
    expect(accuracy.high).toBeGreaterThan(59);
    expect(accuracy.high).toBeLessThan(63);
    const [{ models: same }] = compareEvaluations([b, { ...b, model_type: "c", file: "c.json" }]).datasets;
    expect(same[1].improvement).toEqual({
      accuracy: { mean: 0, low: 0, high: 0 },
      pass_at_1: { mean: 0, low: 0, high: 0 },
    });
  });

  it("counts programs by outcome", () => {
    const outcomes = [
      ["passed", "timeout"],
      ["syntax_error", "syntax_error"],
    ] as const;
    const code = read(
      "coder",
      [
        [1, 2],
        [0, 2],
      ],
      { outcomes },
    );
    const [{ models }] = compareEvaluations([code, { ...code, model_type: "b" }]).datasets;
    expect(models[0].outcomes).toEqual({
      passed: 1,
      wrong_answer: 0,
      runtime_error: 0,
      syntax_error: 2,
      timeout: 1,
      out_of_memory: 0,
    });
    expect(models[0].majority_accuracy).toBeNull();
  });

  it("compares the common problems of files, with a note", () => {
    const part = checkpoint(16, [yes, yes, yes, no]);
    const { datasets, notes } = compareEvaluations([base, part]);
    expect(notes).toEqual([
      "gsm8k: the files hold different problems (base 6, checkpoint-16 4); Qwench compares the 4 that all files hold",
    ]);
    expect(datasets[0]).toMatchObject({ problems: 4 });
    expect(datasets[0].models[0]).toMatchObject({ solved: 2, accuracy: 50 });
  });

  it("notes settings that differ and problems on which an evaluation failed", () => {
    const hot = read("hot", ["error", yes, no, no, no, no], { results: { temperature: 1, seed: 7 } });
    const { notes, datasets } = compareEvaluations([base, first, hot]);
    expect(notes).toEqual([
      "gsm8k: temperature differs, which may cause a difference: 0.3 (base, checkpoint-16), 1 (hot)",
      "gsm8k: the evaluation of hot failed on 1 problem, which counts as not solved",
    ]);
    expect(datasets[0].models.map(({ name, failed }) => [name, failed])).toContainEqual(["hot", 1]);
  });

  it("handles data sets one by one, and leaves out those without a counterpart", () => {
    const of = (name: string, dataset: string) => read(name, [yes, no], { dataset, texts: [`${dataset} 1`, dataset] });
    const { datasets, notes } = compareEvaluations([
      of("base", "a"),
      of("base", "b"),
      of("tuned", "b"),
      of("x", "c"),
      of("y", "c"),
    ]);
    expect(datasets.map(({ dataset, base }) => [dataset, base])).toEqual([
      ["b", "base"],
      ["c", "x"],
    ]);
    expect(notes).toEqual([
      "a: only base was evaluated, so there is nothing to compare",
      "c: base was not evaluated, x is the base there",
    ]);
  });

  it("compares a data set under two names where the problems are the same", () => {
    const theirs = read("theirs", [yes, no], { unsloth: true, dataset: "aime_combined", ids: ["a", "b"] });
    const { datasets, notes } = compareEvaluations([theirs, read("ours", [no, no], { dataset: "aime" })]);
    expect(datasets[0].problems).toBe(2);
    expect(notes[0]).toBe(
      "aime_combined, aime: the names differ, but the files share problems, so they are compared as one data set",
    );
  });

  it("refuses files without common problems", () => {
    const other = read("other", [yes], { texts: ["another problem"] });
    expect(() => compareEvaluations([base, other])).toThrow(
      "Cannot compare evaluations that have no problem in common: of gsm8k, base (base.json) 6, other (other.json) 1 problems",
    );
    expect(() => compareEvaluations([base, { ...other, dataset: "aime" }])).toThrow(
      "Cannot compare evaluations of different data sets: base.json gsm8k, other.json aime",
    );
    expect(() => compareEvaluations([base, first], { base: "bass" })).toThrow(
      "There is no model bass for --base: there are base, checkpoint-16",
    );
  });
});
