import { describe, expect, test } from "vitest";
import { openCompletionsLog, readCompletions } from "../../src/cli/runs/completions-log.ts";
import { completionsTable } from "../../src/cli/terminal/completions-table.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { byPrompt, type Completion, question } from "../../src/report/text.ts";

const completion = (step: number, more: Partial<Completion> = {}): Completion => ({
  step,
  prompt: "<|im_start|>user\n1+1=<|im_end|>\n<|im_start|>assistant\n",
  completion: "2",
  rewards: { exact: 1, told: null },
  advantage: 0.5,
  finish_reason: "stop",
  length: 1,
  ...more,
});

const files = async (folder: ReturnType<typeof memoryFolder>) => folder.folder("completions").list();

describe("the completions of a run", () => {
  test("have one file per generation batch, with TRL's columns, one column per reward, and two more", async () => {
    const output = memoryFolder("out");
    const log = await openCompletionsLog(output, null);
    await log.append(1, [completion(1), completion(1, { completion: 'a "b"\nc', advantage: -0.5, length: 9 })]);
    await log.append(3, [completion(3)]);
    expect(await files(output)).toEqual(["completions_00001.jsonl", "completions_00003.jsonl"]);
    const text = await output.folder("completions").readText("completions_00001.jsonl");
    expect(text.split("\n")[0]).toBe(
      '{"step":1,"prompt":"<|im_start|>user\\n1+1=<|im_end|>\\n<|im_start|>assistant\\n","completion":"2","exact":1,"told":null,"advantage":0.5,"finish_reason":"stop","length":1}',
    );
    expect(readCompletions(text, "x")[1]).toEqual(
      completion(1, { completion: 'a "b"\nc', advantage: -0.5, length: 9 }),
    );
  });

  test("of prompts with images keep their keys, which tell equal questions apart", async () => {
    const output = memoryFolder("out");
    const log = await openCompletionsLog(output, null);
    const prompt = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Read it.<|im_end|>\n";
    const made = ["a", "a", "b"].map((key) => completion(1, { prompt, images: [key] }));
    await log.append(1, made);
    const text = await output.folder("completions").readText("completions_00001.jsonl");
    expect(readCompletions(text, "x")).toEqual(made);
    expect(byPrompt(made).map((group) => group.length)).toEqual([2, 1]);
    expect(question(prompt)).toBe("Read it.");
  });

  test("of two batches in one step share its file", async () => {
    const output = memoryFolder("out");
    const log = await openCompletionsLog(output, null);
    await log.append(2, [completion(2)]);
    await log.append(2, [completion(2, { completion: "3" })]);
    expect(await files(output)).toEqual(["completions_00002.jsonl"]);
    const [batch] = await log.samples();
    expect(batch.completions.map((item) => item.completion)).toEqual(["2", "3"]);
  });

  test("of later steps are removed on resume, because those steps run again; a new run removes all", async () => {
    const output = memoryFolder("out");
    const first = await openCompletionsLog(output, null);
    for (const step of [1, 2, 4, 100_000]) await first.append(step, [completion(step)]);
    await output.folder("completions").write("notes.txt", "mine");
    const resumed = await openCompletionsLog(output, 2);
    expect(await files(output)).toEqual(["completions_00001.jsonl", "completions_00002.jsonl", "notes.txt"]);
    await resumed.append(3, [completion(3, { completion: "again" })]);
    expect((await resumed.samples()).map(({ step }) => step)).toEqual([1, 2, 3]);
    await openCompletionsLog(output, null);
    expect(await files(output)).toEqual(["notes.txt"]);
  });

  test("are shown by the first, the middle and the last batch", async () => {
    const log = await openCompletionsLog(memoryFolder("out"), null);
    expect(await log.samples()).toEqual([]);
    const shown = async () => (await log.samples()).map(({ step }) => step);
    await log.append(1, [completion(1)]);
    expect(await shown()).toEqual([1]);
    await log.append(5, [completion(5)]);
    expect(await shown()).toEqual([1, 5]);
    for (const step of [9, 13, 17]) await log.append(step, [completion(step)]);
    expect(await shown()).toEqual([1, 9, 17]);
  });

  test.each([
    ["not json\n", /^Cannot read f:1 as a completion: /],
    ['{"step":1,"prompt":"a","completion":"b"}\n{"step":1}\n', /^Cannot read f:2 as a completion: it must have/],
    ["null\n", /^Cannot read f:1 as a completion: it must have/],
  ])("%j is refused", (text, message) => {
    expect(() => readCompletions(text, "f")).toThrow(message);
  });

  test("an incomplete last line after a crash is ignored", () => {
    expect(readCompletions('{"step":1,"prompt":"a","completion":"b"}\n{"step":1,"pro', "f")).toHaveLength(1);
  });
});

describe("the table of a few completions", () => {
  const rewards = { xmlcount_reward_func: 0.125, soft_format_reward_func: 0, correctness_reward_func: 2 };
  const group = [
    completion(1, {
      completion: "<reasoning>\nlong \u001b[31mtext".repeat(9),
      rewards,
      length: 200,
      finish_reason: "length",
    }),
    completion(1, { completion: "2", rewards: { ...rewards, correctness_reward_func: null }, advantage: -1.23456 }),
  ];

  test("has the question once, one column per reward, and marks truncation", () => {
    const [asked, heading, , first, second] = completionsTable(group, 100).split("\n");
    expect(asked).toBe("1+1=");
    expect(heading).toMatch(/^completion +xmlcount +soft format +correctness +advantage +tokens$/);
    expect(first).toMatch(/^<reasoning> long .*… +0\.125 +0 +2 +0\.5 +200 cut$/);
    expect(second).toMatch(/^2 +0\.125 +0 +— +−1\.235 +1$/);
  });

  test("in a narrow terminal, the rewards share a column, and no line is wider than the terminal", () => {
    for (const width of [60, 72, 100, 140]) {
      const table = completionsTable([...group, completion(1, { prompt: "other ".repeat(50), rewards })], width);
      for (const line of table.split("\n")) expect(line.length, line).toBeLessThanOrEqual(width);
      expect(table).not.toContain("\u001b");
    }
    expect(completionsTable(group, 60)).toMatch(/0\.125 \/ 0 \/ 2 +0\.5 +200 cut/);
  });
});
