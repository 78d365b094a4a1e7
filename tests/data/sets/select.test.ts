import { describe, expect, it } from "vitest";
import type { SetRow } from "../../../src/data/sets/data-set.ts";
import { dataSetNamed, readDataSet, readSetOptions, type SetOptions } from "../../../src/data/sets/registry.ts";
import { problemKey, sideOf, solutionsByProblem } from "../../../src/data/sets/select.ts";

const SHARES = { train: 0.8, validation: 0.1, test: 0.1 };

/** `problems` problems, each asked `times` times, not next to one another. */
function raw(problems: number, times: number) {
  return Array.from({ length: problems * times }, (_, i) => ({
    question: `What is ${i % problems} plus one?`,
    answer: `way ${Math.floor(i / problems)}\n#### ${(i % problems) + 1}`,
  }));
}

async function collect(rows: readonly Record<string, unknown>[], options: SetOptions): Promise<SetRow[]> {
  const numbered = rows.map((row, i) => ({ row, number: i + 1, file: "t.jsonl" }));
  const made: SetRow[] = [];
  for await (const { row } of readDataSet(dataSetNamed("gsm8k"), [{ rows: numbered }], options))
    made.push(row as SetRow);
  return made;
}

describe("a split by problem", () => {
  it("puts every row on one side, and no problem on two", async () => {
    const rows = raw(1000, 3);
    // the same problems in other letters and with other spaces
    rows.push(
      ...raw(1000, 1).map((row) => ({ ...row, question: `  ${row.question.toUpperCase().replaceAll(" ", "\n ")}` })),
    );
    const sides = await Promise.all(Object.keys(SHARES).map((side) => collect(rows, { shares: SHARES, side })));
    expect(sides.reduce((sum, side) => sum + side.length, 0)).toBe(rows.length);
    const keys = sides.map((side) => new Set(side.map(problemKey)));
    expect(keys.reduce((sum, { size }) => sum + size, 0)).toBe(1000);
    expect(keys.flatMap((set) => [...set])).toHaveLength(new Set(keys.flatMap((set) => [...set])).size);
    for (const [i, share] of Object.values(SHARES).entries()) {
      // five standard deviations of a binomial distribution
      expect(Math.abs(keys[i].size - 1000 * share)).toBeLessThan(5 * Math.sqrt(1000 * share * (1 - share)));
    }
  });

  it("depends only on the problem and the seed, not on other rows", async () => {
    const rows = raw(300, 1);
    const of = async (own: typeof rows, split_seed?: number) =>
      new Set((await collect(own, { shares: SHARES, side: "train", split_seed })).map(({ problem }) => problem));
    const all = await of(rows);
    expect(await of([...rows].reverse())).toEqual(all);
    const half = await of(rows.slice(0, 150));
    expect([...half].every((problem) => all.has(problem))).toBe(true);
    expect(await of(rows, 42)).toEqual(all);
    expect(await of(rows, 43)).not.toEqual(all);
  });

  it("allows sides with share 0, and refuses invalid shares", async () => {
    expect(sideOf("x", { train: 1, test: 0 }, 1)).toBe("train");
    expect(sideOf("x", { test: 0, train: 1 }, 1)).toBe("train");
    expect(() => sideOf("x", { train: 0.5 }, 1)).toThrow('add up to 1, got {"train":0.5}');
    expect(() => sideOf("x", { train: 2, test: -1 }, 1)).toThrow("shares must be at least 0");
    await expect(collect(raw(2, 1), { shares: SHARES, side: "dev" })).rejects.toThrow(
      "Cannot read split dev: the problems are split into train, validation, test",
    );
  });
});

describe("problems with several solutions", () => {
  it("takes N problems with K solutions each: few with many, or many with one", async () => {
    const rows = raw(20, 5);
    const deep = await collect(rows, { problems: 4, solutions: 5 });
    expect(deep).toHaveLength(20);
    expect(new Set(deep.map(problemKey)).size).toBe(4);
    expect(new Set(deep.map(({ completion }) => completion![0].content)).size).toBe(20);
    const diverse = await collect(rows, { problems: 20, solutions: 1 });
    expect(new Set(diverse.map(problemKey)).size).toBe(20);
    expect(diverse).toHaveLength(20);
    expect(await collect(rows, { solutions: 5, limit: 7 })).toHaveLength(7);
  });

  it("counts no text twice, and reports too few solutions", async () => {
    const twice = [...raw(3, 1), ...raw(3, 1)];
    await expect(collect(twice, { problems: 1, solutions: 2 })).rejects.toThrow(
      "Only 0 of the 1 requested problems have 2 different solutions",
    );
    expect(await collect(twice, { solutions: 2 })).toEqual([]);
  });

  it("reads no further than it needs", async () => {
    let read = 0;
    const rows = async function* (): AsyncGenerator<SetRow> {
      for (const problem of "aabbccdd") {
        read++;
        const completion = [{ role: "assistant", content: `${problem}${read}` }];
        yield { prompt: [], completion, problem, source_dataset: "", original_id: "", global_id: read };
      }
    };
    const taken: string[] = [];
    for await (const row of solutionsByProblem(rows(), 2, 2)) taken.push(row.problem);
    expect(taken).toEqual(["a", "a", "b", "b"]);
    expect(read).toBe(4);
  });
});

describe("dataset_options", () => {
  it("are read unchanged", () => {
    const options = {
      form: "think",
      problems: 2,
      solutions: 3,
      shares: { train: 1 },
      where: { level: 1 },
      template: "Q: {problem}",
    };
    expect(readSetOptions(options)).toEqual(options);
  });

  it.each([
    [
      { forms: "xml" },
      'dataset_options takes template, form, max_reasoning_tokens, min_reasoning_tokens, where, problems, solutions, shares, split_seed, limit, got "forms"',
    ],
    [
      { form: "yaml" },
      'dataset_options.form must be one of text, answer, xml, think, think_answer, working_out, got "yaml"',
    ],
    [{ problems: 0 }, "dataset_options.problems must be a whole number of at least 1, got 0"],
    [{ max_reasoning_tokens: 1.5 }, "must be a whole number of at least 1, got 1.5"],
    [{ split_seed: "x" }, 'dataset_options.split_seed must be a whole number, got "x"'],
    [{ template: "Q:" }, 'dataset_options.template must be text with {problem} in it, got "Q:"'],
    [{ where: ["a"] }, 'dataset_options.where must be a mapping of columns to values, got ["a"]'],
    [{ shares: { train: "all" } }, 'must be a mapping of names to shares, got {"train":"all"}'],
  ])("refuse %j", (options, message) => {
    expect(() => readSetOptions(options)).toThrow(message);
  });
});
