import { describe, expect, it } from "vitest";
import { type EvalProblem, evaluate, judge, majority, type Response, recordOf } from "../../src/eval/evaluate.ts";
import type { EvalRecord } from "../../src/eval/results.ts";
import { type EvalSettings, passAt, resultsOf } from "../../src/eval/summary.ts";
import type { CodeOutcome, TestResult } from "../../src/rewards/code/outcome.ts";
import type { CodeExecutor } from "../../src/rewards/code/pool.ts";

const sum = (global_id: number, more: Partial<EvalProblem> = {}): EvalProblem => ({
  global_id,
  original_id: `sum-${global_id}`,
  source_dataset: global_id < 2 ? "easy" : "hard",
  problem: `${global_id}+1?`,
  ground_truth: String(global_id + 1),
  tests: null,
  prompt_ids: [1, 2, 3],
  ...more,
});

/** Stands for Python: a program is what its tests come to, by letter. */
function fakeExecutor(): CodeExecutor & { ran: string[] } {
  const outcomes: Record<string, CodeOutcome> = { p: "passed", w: "wrong_answer", r: "runtime_error", t: "timeout" };
  const ran: string[] = [];
  return {
    ran,
    async run({ code }) {
      ran.push(code.trim());
      return [...code.trim()].map((letter): TestResult => ({ outcome: outcomes[letter], message: null, ms: 1 }));
    },
    end: async () => {},
  };
}

const never = () => {
  throw new Error("no program is to be run");
};
const maths = { grading: {}, executor: never };

describe("a verdict", () => {
  it("compares answers mathematically, and reports the extracted answer", async () => {
    const responses = [
      "So it is \\boxed{\\frac{1}{2}}.",
      "The answer is 0.5",
      "\\boxed{2}",
      "I cannot find it.\nNor can you.",
    ];
    const found = await judge({ ground_truth: "1/2", tests: null }, responses, maths);
    expect(found.correct_responses).toEqual([true, true, false, false]);
    expect(found.extracted_answers).toEqual(["\\frac{1}{2}", "0.5", "2", null]);
    expect(found).not.toHaveProperty("outcomes");
  });

  it("searches for the answer in the requested order", async () => {
    const responses = ["\\boxed{7}, or rather <answer>8</answer>"];
    const by = async (order: readonly ("boxed" | "answer_tag")[]) =>
      (await judge({ ground_truth: "8", tests: null }, responses, { ...maths, grading: { order } })).correct_responses;
    expect(await by(["boxed", "answer_tag"])).toEqual([false]);
    expect(await by(["answer_tag", "boxed"])).toEqual([true]);
  });

  it("runs the program of each response, and counts its passed tests", async () => {
    const executor = fakeExecutor();
    const block = (code: string) => `Here:\n\`\`\`python\n${code}\n\`\`\``;
    const tests = { tests: [0, 1, 2].map(() => ({ kind: "assert" as const, code: "assert f()" })) };
    const responses = [block("ppp"), block("pwr"), "I cannot.", block("rpp"), block("tpp")];
    const found = await judge({ ground_truth: null, tests }, responses, { grading: {}, executor: () => executor });
    expect(found.outcomes).toEqual(["passed", "wrong_answer", "syntax_error", "runtime_error", "timeout"]);
    expect(found.passed_tests).toEqual([3, 1, 0, 2, 2]);
    expect(found.correct_responses).toEqual([true, false, false, false, false]);
    expect(executor.ran).toEqual(["ppp", "pwr", "rpp", "tpp"]);
    const written = { responses, completion_tokens: [9, 9, 2, 9, 9], finish_reasons: Array(5).fill("stop") };
    const record = recordOf(sum(0, { ground_truth: null, tests }), written, found);
    expect(record).toMatchObject({ n_correct: 1, n_total: 5, n_tests: 3, majority_answer: null, output_tokens: 38 });
  });
});

describe("the majority", () => {
  it("counts equal answers together, in any spelling", () => {
    const answers = ["3", "0.5", "1/2", null, "\\frac12", "3"];
    const correct = [false, true, true, false, true, false];
    expect(majority(answers, correct)).toEqual({ answer: "0.5", correct: true });
  });

  it("is the first of equally large groups; absent without any answer", () => {
    expect(majority(["4", "5", "5", "4"], [false, true, true, false])).toEqual({ answer: "4", correct: false });
    expect(majority([null, null], [false, false])).toEqual({ answer: null, correct: false });
  });
});

/** Responses to each problem, in the order given: [problem, number, text]. */
async function* arriving(list: readonly [number, number, string][]): AsyncGenerator<Response> {
  for (const [problem, response, text] of list) {
    yield { problem, response, text, tokens: text.length, finish_reason: text === "" ? "length" : "stop" };
  }
}

describe("an evaluation", () => {
  const problems = [sum(0), sum(1)];
  const order: [number, number, string][] = [
    [1, 1, "2"],
    [0, 0, "1"],
    [1, 0, "3"],
    [0, 1, ""],
  ];

  it("keeps a problem as soon as its last response is there, in their order", async () => {
    const told: unknown[] = [];
    await evaluate(problems, arriving(order), 2, maths, {
      written: async ({ global_id }, { responses }) => void told.push([global_id, responses]),
      verdicts: async ({ global_id }, { correct_responses }, record) =>
        void told.push([global_id, correct_responses, record.finish_reasons, record.completion_tokens]),
    });
    expect(told).toEqual([
      [1, ["3", "2"]],
      [1, [false, true], ["stop", "stop"], [1, 1]],
      [0, ["1", ""]],
      [0, [true, false], ["stop", "length"], [1, 0]],
    ]);
  });

  it.each<[string, Partial<Record<"written" | "verdicts" | "stream", boolean>>]>([
    ["responses that break off", { stream: true }],
    ["a full disk", { written: true }],
    ["a full disk while grades are kept", { verdicts: true }],
  ])("ends with what broke: %s; grades of what was there are kept", async (_, broken) => {
    const graded: number[] = [];
    async function* breaking() {
      yield* arriving(order.slice(0, 3));
      if (broken.stream) throw new Error("lost");
      yield* arriving(order.slice(3));
    }
    const run = evaluate(problems, breaking(), 2, maths, {
      async written() {
        if (broken.written) throw new Error("lost");
      },
      async verdicts({ global_id }) {
        if (broken.verdicts) throw new Error("lost");
        graded.push(global_id);
      },
    });
    await expect(run).rejects.toThrow("lost");
    expect(graded).toEqual(broken.stream ? [1] : []);
  });
});

const settings: EvalSettings = {
  model_type: "base",
  dataset: "sums",
  temperature: 1,
  n_sampling: 4,
  max_tokens: 8,
  top_p: 1,
  top_k: 0,
  seed: 0,
  model_name_or_path: "m",
  adapter_name_or_path: null,
  qwench_version: "0",
};

const record = (id: number, right: boolean[], more: Partial<EvalRecord> = {}): EvalRecord => ({
  ...recordOf(
    sum(id),
    {
      responses: right.map(String),
      completion_tokens: right.map((_, i) => 10 + i),
      finish_reasons: right.map((_, i) => (i === 0 ? "length" : "stop")),
    },
    { extracted_answers: right.map((fine) => (fine ? String(id + 1) : null)), correct_responses: right },
  ),
  ...more,
});

describe("results", () => {
  const records = [
    record(0, [true, true, false, false], { difficulty: "10" }),
    record(1, [false, false, false, false], { difficulty: "9" }),
    record(2, [true, false, false, false], { difficulty: "10" }),
  ];

  it("are Unsloth's, and pass@k without bias", () => {
    const results = resultsOf(records, settings, [1, 2, 4]);
    expect(results).toMatchObject({ total_problems: 3, correct_answers: 2, accuracy: 66.666667, pass_at_k: 66.666667 });
    // 1 − C(n−c, 2) / C(n, 2): 5/6, 0, 1/2
    expect(results.pass_at).toEqual({ 1: 25, 2: 44.444444, 4: 66.666667 });
    expect(results.source_stats).toEqual({ easy: { total: 2, correct: 1 }, hard: { total: 1, correct: 1 } });
    expect(results.source_accuracies).toEqual({ easy: 50, hard: 100 });
    expect(Object.entries(results.difficulty_accuracies)).toEqual([
      ["9", 0],
      ["10", 37.5],
    ]);
    expect(results.majority_accuracy).toBe(66.666667);
    expect(results).toMatchObject({ avg_completion_tokens: 11.5, avg_output_tokens: 46, max_output_tokens: 46 });
    expect(results).toMatchObject({ ended: 75, avg_input_tokens: 3, max_input_tokens: 3, n_sampling: 4 });
    expect(results).not.toHaveProperty("outcomes");
  });

  it("count programs by outcome and know no majority of them", () => {
    const code = { ground_truth: null, outcomes: ["passed", "timeout", "passed", "wrong_answer"] as CodeOutcome[] };
    const results = resultsOf([record(0, [true, false, true, false], code)], settings, [1]);
    expect(results.outcomes).toEqual({ passed: 2, timeout: 1, wrong_answer: 1 });
    expect(results.majority_accuracy).toBeNull();
  });

  it("need a problem, and no more responses than there are", () => {
    expect(() => resultsOf([], settings, [1])).toThrow("without problems");
    expect(() => passAt(records, 5)).toThrow("pass@5 from 4 completions");
  });
});
