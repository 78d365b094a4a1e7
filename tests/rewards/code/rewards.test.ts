import { afterAll, describe, expect, test } from "vitest";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import type { CodeExecutor } from "../../../src/rewards/code/pool.ts";
import { codeFormatReward, codeRewards } from "../../../src/rewards/code/rewards.ts";
import { type CodeTask, testsOf } from "../../../src/rewards/code/tests.ts";
import type { RewardFunction, Turn } from "../../../src/rewards/reward.ts";
import { parsePythonJson } from "../../../src/text/python-json.ts";

// a program that ends must not time out on a slow machine
const pool = openCodePool({ test_seconds: 120, total_seconds: 600 }, 2);
const hurried = openCodePool({ test_seconds: 1, total_seconds: 1.5 }, 1);
afterAll(async () => {
  await pool.end();
  await hurried.end();
});

const context = { step: 0, completion_ids: null, signal: new AbortController().signal };
async function scores(reward: RewardFunction, completions: Turn[], columns: Record<string, unknown[]>) {
  return reward(
    completions.map(() => ""),
    completions,
    columns,
    context,
  );
}
const fenced = (code: string) => `<think>\nhm\n</think>\n\`\`\`python\n${code}\n\`\`\``;

describe("code_reward and binary_code_reward", () => {
  const { code_reward, binary_code_reward } = codeRewards(pool);
  const info = {
    language: "python",
    test_cases: [
      { fn_name: null, input: "1\n2\n", output: "3\n", type: "stdin_stdout" },
      { fn_name: null, input: "2\n2\n", output: "4\n", type: "stdin_stdout" },
      { fn_name: null, input: "0\n-2\n", output: "-2\n", type: "stdin_stdout" },
      { fn_name: null, input: "5\n5\n", output: "10\n", type: "stdin_stdout" },
    ],
  };
  const completions = [
    fenced("print(int(input()) + int(input()))"),
    fenced("print(int(input()) * int(input()))"),
    "The sum is 3.",
    fenced("1 / 0"),
    [{ role: "assistant", content: fenced("print(4)") }],
  ];

  test("the share of passed tests, and whether all passed", async () => {
    const columns = { verification_info: completions.map((_, i) => (i % 2 ? JSON.stringify(info) : info)) };
    const [fractions, binary] = await Promise.all([
      scores(code_reward, completions, columns),
      scores(binary_code_reward, completions, columns),
    ]);
    expect(fractions).toEqual([1, 0.25, 0, 0, 0.25]);
    expect(binary).toEqual([1, 0, 0, 0, 0]);
  });

  test("a program's time limit is reported", async () => {
    const results = await hurried.run({ code: "while True: pass", tests: testsOf({ verification_info: info }).tests });
    const [first, second, ...rest] = results.map(({ message }) => message);
    expect(first).toBe("over 1 s");
    // a busy machine can end the first test so late that no time is left
    expect(second).toMatch(/^(not run: )?the program's limit of 1.5 s was used up$/);
    expect(rest).toEqual(Array(2).fill("not run: the program's limit of 1.5 s was used up"));
    const late = codeRewards(hurried).code_reward;
    expect(await scores(late, [fenced("while True: pass")], { verification_info: [info] })).toEqual([0]);
  });

  test("a stopped run leaves no program running", async () => {
    const stop = new AbortController();
    const running = code_reward(
      [""],
      [fenced("while True: pass")],
      { test_list: [["assert 1"]] },
      { ...context, signal: stop.signal },
    );
    setTimeout(() => stop.abort(), 300);
    await expect(running).rejects.toThrow("The run was stopped while it tested code");
    expect(await scores(code_reward, [fenced("x = 1")], { test_list: [["assert x == 1"]] })).toEqual([1]);
  });

  test("rows without tests are an error before any program runs", async () => {
    const executor: CodeExecutor = { run: () => Promise.reject(new Error("it ran")), end: async () => {} };
    const rewards = codeRewards(executor);
    const columns = { test_list: [["assert 1"], null] };
    await expect(scores(rewards.code_reward, completions.slice(0, 2), columns)).rejects.toThrow(
      "a code reward needs tests: verification_info, public_test_cases, test_list, or test and entry_point; the row's columns: test_list",
    );
  });
});

describe("the tests in a row", () => {
  const run = async (task: Omit<CodeTask, "code">, code: string) =>
    (await pool.run({ ...task, code })).map((r) => r.outcome);

  test("LiveCodeBench's, with its imports", async () => {
    const stdin = testsOf({
      public_test_cases: JSON.stringify([{ input: "3\n1 2 3", output: "6\n", testtype: "stdin" }]),
      private_test_cases: [{ input: "1\n5", output: "5", testtype: "stdin" }],
      metadata: "{}",
    });
    expect(await run(stdin, "n = int(input())\nprint(reduce(add, map(int, input().split())))")).toEqual([
      "passed",
      "passed",
    ]);
    const call = testsOf({
      public_test_cases: JSON.stringify([{ input: '[1, 2]\n"ab"', output: '["ab", 3]', testtype: "functional" }]),
      metadata: JSON.stringify({ func_name: "join" }),
    });
    const solution = "class Solution:\n  def join(self, a: List[int], b: str) -> List: return b, sum(a)";
    expect(await run(call, solution)).toEqual(["passed"]);
  });

  test("LiveCodeBench's, if only the public tests exist", () => {
    const public_test_cases = JSON.stringify([{ input: "1\n", output: "2\n", testtype: "stdin" }]);
    const tests = [{ kind: "stdin", input: "1\n", output: "2\n" }];
    for (const private_test_cases of ["", "[]", null]) {
      expect(testsOf({ public_test_cases, private_test_cases, metadata: null }).tests).toEqual(tests);
    }
    expect(() => testsOf({ public_test_cases: "[]", private_test_cases: "[]" })).toThrow("contains no tests");
  });

  test("integers beyond 2^53, digit by digit", () => {
    const verification_info =
      '{"test_cases": [{"fn_name": "f", "input": [9007199254740993, 1.0], "output": 1000000000000000009}]}';
    expect(testsOf({ verification_info: parsePythonJson(verification_info) }).tests).toEqual([
      { kind: "call", name: "f", args: "[9007199254740993, 1.0]", expected: ["1000000000000000009"] },
    ]);
    expect(testsOf({ verification_info }).tests[0]).toMatchObject({ args: "[9007199254740993, 1.0]" });
  });

  test("open-r1's calls, whose results may be in a list", async () => {
    const verification_info = {
      test_cases: [{ fn_name: "f", input: [[1, 2], 3], output: [6], type: "function_call" }],
    };
    expect(await run(testsOf({ verification_info }), "def f(a, b): return sum(a) + b")).toEqual(["passed"]);
    expect(await run(testsOf({ verification_info }), "def f(a, b): return [sum(a) + b]")).toEqual(["passed"]);
    expect(await run(testsOf({ verification_info }), "def f(a, b): return 5")).toEqual(["wrong_answer"]);
  });

  test("numbers keep their digits and types", async () => {
    const verification_info =
      '{"test_cases": [{"fn_name": "f", "input": [9007199254740993, 1.0, {"k": [12345678901234567890]}], "output": ["9007199254740993 1.0 12345678901234567890"]}]}';
    const task = testsOf({ verification_info });
    expect(task.tests[0]).toMatchObject({ args: '[9007199254740993, 1.0, {"k": [12345678901234567890]}]' });
    expect(await run(task, "def f(a, b, c): return f'{a} {b} {c[\"k\"][0]}'")).toEqual(["passed"]);
    const big = { test_cases: [{ fn_name: "f", input: [9007199254740993n], output: 9007199254740994n }] };
    expect(await run(testsOf({ verification_info: big }), "def f(a): return a + 1")).toEqual(["passed"]);
    expect(await run(testsOf({ verification_info: big }), "def f(a): return a")).toEqual(["wrong_answer"]);
  });

  test("MBPP's, one by one, with the setup", async () => {
    const task = testsOf({ test_list: ["assert f(one) == 1", "assert f(2) == 1"], test_setup_code: "one = 1" });
    expect(await run(task, "def f(x): return x")).toEqual(["passed", "wrong_answer"]);
  });

  test("HumanEval's", async () => {
    const task = testsOf({ test: "def check(candidate):\n    assert candidate(1) == 2\n", entry_point: "f" });
    expect(await run(task, "def f(x): return x + 1")).toEqual(["passed"]);
    expect(await run(task, "def f(x): return x")).toEqual(["wrong_answer"]);
    expect(await run(task, "def g(x): return x")).toEqual(["runtime_error"]);
  });

  test.each<[Record<string, unknown>, string]>([
    [{}, "the row's columns: none"],
    [{ test_list: "assert 1" }, "test_list is not JSON"],
    [{ test_list: [] }, "test_list contains no tests"],
    [{ test_list: [1] }, "test_list must be text, not 1"],
    [{ verification_info: [] }, "verification_info must be an object, not []"],
    [{ verification_info: { test_cases: [null] } }, "a test case must be an object, not null"],
    [{ verification_info: { test_cases: [{ input: 1, output: "1" }] } }, "input must be text, not 1"],
    [
      { verification_info: { test_cases: [{ fn_name: "f", input: 1, output: 1 }] } },
      "must be a list of arguments, not 1",
    ],
    [{ public_test_cases: "eJxr", metadata: "{}" }, "public_test_cases is not JSON"],
    [{ public_test_cases: [{ input: "1", output: "1", testtype: "functional" }] }, "metadata.func_name must be text"],
    [{ test: "x", entry_point: 3 }, "entry_point must be text, not 3"],
  ])("%j: %s", (row, message) => {
    expect(() => testsOf(row)).toThrow(message);
  });
});

describe("code_format_reward", () => {
  const good = "<think>\nI add.\n</think>\n<answer>\nSo:\n```python\nx = 1\n```\n</answer>";
  test.each<[string, number]>([
    [good, 1],
    [`${good}\nmore`, 1], // the regular expression's $ ends a line
    [good.replace("So:\n", ""), 1],
    [good.replace("I add.", "a\n</think>\n<answer>\n b"), 1],
    [good.replace("</answer>", "\n</answer> \n</answer>"), 1],
    [good.replace("```\n</answer>", "```</answer>"), 0],
    [`${good} more`, 0],
    [` ${good}`, 0],
    [good.replace("```python", "```py"), 0],
    [good.replace("\n```\n", "\n"), 0],
    [good.replace("<think>\nI add.\n", "<think>\n"), 0],
    [good.replace("</think>\n<answer>", "</think><answer>"), 0],
    ["", 0],
  ])("%j: %d", async (text, score) => {
    const pattern = /^<think>\n.*?\n<\/think>\n<answer>\n.*?```python.*?```.*?\n<\/answer>$/ms;
    expect(pattern.test(text) && text.startsWith("<think>") ? 1 : 0).toBe(score); // open-r1's own
    expect(await scores(codeFormatReward, [text], {})).toEqual([score]);
  });

  test("takes the language from its column", async () => {
    const columns = { language: ["python", "cpp", "cpp"] };
    expect(await scores(codeFormatReward, [good, good, good.replace("python", "cpp")], columns)).toEqual([1, 0, 1]);
  });
});
