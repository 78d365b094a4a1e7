import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { parsePrompt, parseRow } from "../../../src/data/rows.ts";
import type { SetRow } from "../../../src/data/sets/data-set.ts";
import { AIME_TEMPLATE, SYSTEM_PROMPTS } from "../../../src/data/sets/forms.ts";
import { DATA_SETS, dataSetNamed, readDataSet, type SetOptions } from "../../../src/data/sets/registry.ts";
import { fields } from "../../../src/recipe/recipe.ts";
import { testsOf } from "../../../src/rewards/code/tests.ts";
import { grade } from "../../../src/rewards/maths/grade.ts";
import { sharedPath, sharedRows } from "../../shared.ts";

type Raw = Record<string, unknown>;

const numbered = (rows: readonly Raw[], file = "train.jsonl") => rows.map((row, i) => ({ row, number: i + 1, file }));

async function collect(name: string, rows: readonly Raw[], options: SetOptions = {}, file?: string): Promise<SetRow[]> {
  const made: SetRow[] = [];
  for await (const { row } of readDataSet(dataSetNamed(name), [{ rows: numbered(rows, file) }], options)) {
    made.push(row as SetRow);
  }
  return made;
}

/** Rows of public data, if present, or rows of the same format. */
function rowsOr(path: string, standIn: Raw): Raw[] {
  return (sharedRows(path) as Raw[] | null) ?? [standIn];
}

const content = (row: SetRow) => row.completion?.[0].content;

describe("GSM8K", () => {
  const raw = { question: "How many?", answer: "48/2 = <<48/2=24>>24 clips.\nIn all 1,024.\n#### 1,024" };

  it("separates working and answer, and writes them in every format", async () => {
    const one = async (options: SetOptions) => (await collect("gsm8k", [raw], options))[0];
    const row = await one({ system_prompt: SYSTEM_PROMPTS.xml });
    expect(row).toEqual({
      prompt: [
        { role: "system", content: SYSTEM_PROMPTS.xml },
        { role: "user", content: "How many?" },
      ],
      completion: [{ role: "assistant", content: raw.answer }],
      problem: "How many?",
      answer: "1024",
      solution: raw.answer,
      source_dataset: "train",
      original_id: "1",
      global_id: 0,
    });
    const working = "48/2 = 24 clips.\nIn all 1,024.";
    expect(content(await one({ form: "xml" }))).toBe(
      `<reasoning>\n${working}\n</reasoning>\n<answer>\n1024\n</answer>\n`,
    );
    expect(content(await one({ form: "think_answer" }))).toBe(
      `<think>\n${working}\n</think>\n<answer>\n1024\n</answer>`,
    );
    expect(content(await one({ form: "think" }))).toBe(
      `<think>\n${working}\n</think>\n\nThe final answer is $\\boxed{1024}$.`,
    );
    expect(content(await one({ form: "working_out" }))).toBe(
      `<start_working_out>${working}<end_working_out><SOLUTION>1024</SOLUTION>`,
    );
  });

  it("makes rows that SFT and GRPO read, a system message once", async () => {
    const [row] = await collect("gsm8k", [raw], { system_prompt: "Be brief.", form: "xml" });
    const source = { row, number: 1, file: "gsm8k" };
    expect(parseRow(source)).toMatchObject({ format: "chat", prompt: [{ role: "system" }, { role: "user" }] });
    expect(parsePrompt(source, { system_prompt: "Be brief." })).toMatchObject({
      prompt: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "How many?" },
      ],
    });
  });

  it("is read from its own rows", async () => {
    const rows = await collect("gsm8k", rowsOr("data/gsm8k/test.jsonl", raw));
    expect(rows.filter(({ answer }) => !/^-?\d+$/.test(answer!))).toEqual([]);
    expect(rows.filter((row) => !grade(row.answer!, String(row.solution)).equal)).toEqual([]);
  });

  it("names the row and the missing column", async () => {
    await expect(collect("gsm8k", [{ question: "?" }])).rejects.toThrow(
      "train.jsonl, row 1: has the columns question; it needs answer",
    );
    await expect(collect("gsm8k", [raw, { question: "?", answer: "5" }])).rejects.toThrow(
      'train.jsonl, row 2: its answer has no "####"',
    );
  });
});

describe("sets of mathematics", () => {
  it("AIME: three files are one set, with their names, their ids and ids over all", async () => {
    const files = ["test2024", "test2025-I", "test2025-II"];
    const parts = files.map((name, i) => ({
      rows: numbered(
        rowsOr(`data/aime/${name}.jsonl`, { id: `x-${i}`, problem: `P${i}?`, answer: "073" }),
        `a/${name}.jsonl`,
      ),
    }));
    const options = { system_prompt: SYSTEM_PROMPTS.aime, template: AIME_TEMPLATE };
    const rows: SetRow[] = [];
    for await (const { row } of readDataSet(dataSetNamed("aime"), parts, options)) rows.push(row as SetRow);
    expect(new Set(rows.map(({ source_dataset }) => source_dataset))).toEqual(new Set(files));
    expect(rows.map(({ global_id }) => global_id)).toEqual(rows.map((_, i) => i));
    expect(rows.every(({ answer }) => /^\d{1,3}$/.test(answer!) && Number(answer) <= 999)).toBe(true);
    expect(rows[0].original_id).toBe(String(parts[0].rows[0].row.id));
    expect(rows[0].prompt[1].content).toBe(
      `Problem: ${rows[0].problem}\n\nSolve this step by step and provide your final numerical answer.`,
    );
    // the combined file gives the same rows
    const again = await collect(
      "aime",
      rows.map(({ prompt: _, ...row }) => row),
      options,
      "aime.jsonl",
    );
    expect(again).toEqual(rows);
  });

  it("AIME: the hub's parts have known names", async () => {
    const raw = [{ question: "1+1?", answer: 2 }];
    const of = async (file: string) => (await collect("aime", raw, {}, file))[0];
    expect(await of("aime2025-II.jsonl")).toMatchObject({
      source_dataset: "test2025-II",
      original_id: "0",
      answer: "2",
    });
    expect((await of("data/AIME2025-I/test.parquet")).source_dataset).toBe("test");
    expect((await of("AIME2025-I.parquet")).source_dataset).toBe("test2025-I");
  });

  it("LIMO keeps its solution as reasoning", async () => {
    const raw = { question: "1+1?", solution: "Well, **Final Answer**\n\\boxed{2}", answer: "2" };
    const [row] = await collect("limo", [raw], { form: "think" });
    expect(content(row)).toBe(
      "<think>\nWell, **Final Answer**\n\\boxed{2}\n</think>\n\nThe final answer is $\\boxed{2}$.",
    );
    expect(row).toMatchObject({ problem: "1+1?", answer: "2", original_id: "1" });
  });

  it.each([
    [
      "math500",
      "data/math500/test.jsonl",
      {
        problem: "?",
        solution: "\\boxed{p-q}",
        answer: "p - q",
        level: 5,
        subject: "Algebra",
        unique_id: "test/a/1.json",
      },
      1,
    ],
    ["amc23", "data/amc23/test.jsonl", { id: 0, problem: "?", answer: 27.0, url: "u" }, 1],
    ["minerva", "data/minerva_math/test.jsonl", { problem: "?", solution: "so \\boxed{4.5e33} erg", idx: 1 }, 1],
    [
      "olympiadbench",
      "data/olympiadbench/test.jsonl",
      {
        id: 1606,
        question: "?",
        context: null,
        solution: ["We show it.", "Or so."],
        final_answer: ["2"],
        subfield: "Algebra",
      },
      0.99,
    ],
  ])("%s: each answer equals the one in the row's own solution or column", async (name, path, standIn, least) => {
    const raw = rowsOr(path, standIn);
    const rows = await collect(name, raw, { limit: 10_000 });
    expect(rows).toHaveLength(raw.length);
    const agree = rows.filter((row, i) => {
      const source = raw[i].answer ?? raw[i].solution ?? "";
      const gold = Array.isArray(raw[i].final_answer) ? (raw[i].final_answer as string[]).join(", ") : String(source);
      return row.problem !== "" && grade(gold, row.answer!).equal;
    });
    expect(agree.length / rows.length).toBeGreaterThanOrEqual(least);
    expect(new Set(rows.map(({ original_id }) => original_id)).size).toBe(rows.length);
  });

  it("AMC's answers are not floats, MATH's levels stay columns, a solution without a box is refused", async () => {
    expect((await collect("amc23", [{ id: 7, problem: "?", answer: "27.0" }]))[0]).toMatchObject({
      answer: "27",
      original_id: "7",
    });
    const math = [1, 2, 3].map((level) => ({
      problem: `${level}?`,
      solution: "s",
      answer: "1",
      level,
      unique_id: `u${level}`,
    }));
    expect((await collect("math500", math, { where: { level: [1, "3"] } })).map(({ level }) => level)).toEqual([1, 3]);
    await expect(collect("minerva", [{ problem: "?", solution: "none" }])).rejects.toThrow(
      "has neither an answer nor a \\boxed in its solution",
    );
  });
});

describe("sets of programs", () => {
  const output = "<think>\nTwo ways. ```python\nno\n```\n</think>\n\nSo:\n```python\nprint(input())\n```\nDone.";

  it("OpenCodeReasoning separates reasoning and program, and filters by the reasoning's length", async () => {
    const raw = [
      { id: "a", input: "Echo.", output, solution: "print(input())", difficulty: "EASY", source: "codeforces" },
      { id: "b", input: "-", output, solution: "x" },
      { id: "c", input: "Sum.", output: output.replace("Two ways.", "word ".repeat(50)), solution: "```" },
    ];
    const rows = await collect("opencodereasoning", raw, { form: "think" });
    expect(rows.map(({ original_id }) => original_id)).toEqual(["a", "c"]);
    expect(content(rows[0])).toBe("<think>\nTwo ways. ```python\nno\n```\n</think>\n\n```python\nprint(input())\n```");
    expect(rows[0]).toMatchObject({ difficulty: "EASY", solution: output });
    expect(content((await collect("opencodereasoning", raw))[0])).toBe(output);
    expect(content((await collect("opencodereasoning", raw, { form: "answer" }))[0])).toBe(
      "```python\nprint(input())\n```",
    );
    const count_tokens = (text: string) => text.split(/\s+/).length;
    const of = async (options: SetOptions) =>
      (await collect("opencodereasoning", raw, { ...options, count_tokens })).map(({ original_id }) => original_id);
    expect(await of({ max_reasoning_tokens: 20 })).toEqual(["a"]);
    expect(await of({ min_reasoning_tokens: 20 })).toEqual(["c"]);
    expect(await of({ min_reasoning_tokens: 5, max_reasoning_tokens: 500 })).toEqual(["a", "c"]);
    await expect(collect("opencodereasoning", raw, { max_reasoning_tokens: 20 })).rejects.toThrow("need a tokenizer");
  });

  it("HumanEval's and MBPP's rows contain their tests, and whole programs", async () => {
    let human: Raw[] = [
      {
        task_id: "HumanEval/0",
        prompt: 'def f(x):\n    """Adds one."""\n',
        canonical_solution: "    return x + 1\n",
        test: "def check(f):\n    assert f(1) == 2\n",
        entry_point: "f",
      },
    ];
    const packed = sharedPath("data/humaneval/HumanEval.jsonl.gz");
    if (packed) {
      human = gunzipSync(readFileSync(packed))
        .toString()
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
    }
    const rows = await collect("humaneval", human);
    expect(rows).toHaveLength(human.length);
    expect(rows.every((row) => testsOf(row).tests.length === 1)).toBe(true);
    const [first] = rows;
    expect(first.solution).toBe(`${human[0].prompt}${human[0].canonical_solution}`);
    expect(content(first)).toMatch(/^```python\n[\s\S]*return [\s\S]*\n```$/);
    expect(first.prompt[0].content).toContain(`\`\`\`python\n${String(human[0].prompt).trimEnd()}\n\`\`\``);

    const mbpp = rowsOr("data/mbpp/mbpp.jsonl", {
      text: "Add one.",
      code: "def f(x):\r\n  return x + 1",
      task_id: 1,
      test_setup_code: "",
      test_list: ["assert f(1) == 2"],
      challenge_test_list: [],
    });
    const made = await collect("mbpp", mbpp);
    expect(made).toHaveLength(mbpp.length);
    expect(made.every((row, i) => testsOf(row).tests.length === (mbpp[i].test_list as string[]).length)).toBe(true);
    expect(made[0].prompt[0].content).toContain(`It must pass these tests:\n\n${(mbpp[0].test_list as string[])[0]}`);
    expect(String(made[0].solution)).not.toContain("\r");
    expect(made[0].original_id).toBe(String(mbpp[0].task_id));
  });

  it.each([
    ["JSON", '[{"input":"1 2 3","output":"6","testtype":"stdin"}]', "6"],
    [
      "a pickle of protocol 2",
      "eJxrYIpwY2BgiK5WyswrKC1RslJQMo7JM1QwUgBSSjoKSvmlJVBxM4WYUgODVEuIeElqcUlJZUEqSKa4JCUzT6k2tpBBDwBswxa/",
      "6 é\n",
    ],
    [
      "a pickle of protocol 4",
      "eJxrYJnqxQABPW7R1UqZeQWlJUpWCkrGMXmGCkYKQEpJR0Epv7QEKm6mEFNqYJBqCREvSS0uKaksSAXJFJekZOYp1cZO0QMAr2MX9w==",
      "6 é\n",
    ],
    [
      "a pickle of a long text",
      "eJxrYJmaxsgABhHxQEZ0tVJmXkFpiZKVglLFKCAaKOkoKOWXlkBDzhDELUktLimpLEgFCRSXpGTmKdXGTtEDAHt2nz8=",
      "1",
    ],
  ])("LiveCodeBench's hidden tests are read from %s", async (_, hidden, expected) => {
    const raw = {
      question_title: "Sum",
      question_content: "Add them.",
      question_id: "abc_a",
      contest_date: "2024-09-01T00:00:00",
      difficulty: "easy",
      platform: "atcoder",
      starter_code: "",
      public_test_cases: '[{"input":"1","output":"1","testtype":"stdin"}]',
      private_test_cases: hidden,
      metadata: "{}",
    };
    const [row] = await collect("livecodebench", [raw]);
    expect(row).toMatchObject({ difficulty: "easy", platform: "atcoder", original_id: "abc_a" });
    expect(row.problem).toMatch(/^Add them\.\n\nWrite a Python program that reads the input from stdin/);
    const { tests } = testsOf(row);
    expect(tests).toHaveLength(2);
    expect(tests[1]).toMatchObject({ kind: "stdin", output: expected });
    const [method] = await collect("livecodebench", [
      { ...raw, starter_code: "class Solution:\n    def f(self):\n        " },
    ]);
    expect(method.problem).toContain("```python\nclass Solution:\n    def f(self):\n```");
  });

  it.each([
    ["neither JSON nor base64", "{oops"],
    ["its pickle contains more than a string (opcode 125)", "eJxrYJnKxQABtVN6GBOneDMW6wEALJIEpA=="],
    ["cannot be read: ", "AAAA"],
  ])("LiveCodeBench's tests are refused: %s", async (message, hidden) => {
    const raw = { question_content: "?", question_id: "x", private_test_cases: hidden };
    await expect(collect("livecodebench", [raw])).rejects.toThrow(
      /train\.jsonl, row 1: "private_test_cases" cannot be read: /,
    );
    await expect(collect("livecodebench", [raw])).rejects.toThrow(message);
  });
});

describe("the registry", () => {
  it("has the choices of dataset_format", () => {
    const format = fields.find(({ name }) => name === "dataset_format")!;
    expect(format.choices).toEqual(Object.keys(DATA_SETS));
    expect(() => dataSetNamed("toString")).toThrow('There is no data set "toString"; data sets: gsm8k, limo,');
  });
});
