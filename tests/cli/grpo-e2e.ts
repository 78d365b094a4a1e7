import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { sums, tinyChatModel } from "../train/grpo/fixtures.ts";

// What the tests of `qwench grpo` share: a model with a chat template, sums to solve, and a user's module of rewards.

let root: string;

/** A path in the test file's own folder. */
export const at = (...names: string[]) => join(root, ...names);

/** Rewards that a random model can earn, and such as go wrong. */
const REWARDS = `
const text = (turn) => typeof turn === "string" ? turn : turn[0].content;
export const letters = (prompts, completions) => completions.map((c) => (text(c).match(/[a-z]/g) ?? []).length);
export const even = async (prompts, completions) => completions.map((c, i) => (i % 2 ? null : 1));
export const flat = (prompts, completions) => completions.map(() => 0.5);
export const short = () => [1, 2, 3];
export const nan = (prompts, completions) => completions.map((c, i) => (i === 2 ? NaN : 1));
export const never = () => new Promise(() => {});
export const endless = () => { for (;;); };
export const throws = (prompts, completions, { answer }) => { throw new RangeError("no grade for " + answer[0]); };
export const later = (prompts, completions, columns, { step }) => {
  if (step === 2) throw new Error("the judge is out");
  return letters(prompts, completions);
};
export const slow = (prompts, completions) => new Promise((done) => setTimeout(done, 150)).then(() => letters(prompts, completions));
export const notes = "no function";
`;

/** Writes a copy of the model on the disk. */
export async function modelAt(folder: string, eos?: number | number[]): Promise<string> {
  const model = await tinyChatModel(eos);
  for (const name of await model.list()) {
    const file = await model.open(name);
    await nodeFolder(folder).write(name, await file.read(0, file.size));
  }
  return folder;
}

export function rowsFile(rows: readonly Record<string, unknown>[]): string {
  const file = join(mkdtempSync(at("rows-")), "rows.jsonl");
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

/** Makes the model, the rows and the module of a test file, and removes them at its end. */
export function useGrpoInputs(): void {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "qwench-grpo-"));
    await modelAt(at("model"));
    mkdirSync(at("code"));
    writeFileSync(at("code", "mine.mjs"), REWARDS);
    writeFileSync(
      at("rows.jsonl"),
      sums(24)
        .map(({ row }) => `${JSON.stringify(row)}\n`)
        .join(""),
    );
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
}

/** `./mine.mjs:name` for each name. */
export const mine = (...names: string[]) => names.map((name) => `${at("code", "mine.mjs")}:${name}`);

/** A quick run's command line: 4 completions of 2 prompts a step, 4 steps, all logged, a checkpoint every second. */
export const grpoArgs = (output: string, rewards: readonly string[], ...more: string[]) => [
  ..."grpo --per_device_train_batch_size 8 --num_generations 4 --max_completion_length 6 --max_steps 4".split(" "),
  ..."--logging_steps 1 --save_steps 2 --lora_r 4 --learning_rate 1e-2".split(" "),
  ...["--model_name_or_path", at("model"), "--dataset_name", at("rows.jsonl"), "--output_dir", output],
  ...["--reward_funcs", ...rewards],
  ...more,
];

/** The lines of metrics.jsonl without the clock. */
export const learnt = (output: string) =>
  readFileSync(join(output, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.replace(/,"(step_time|eval_runtime|time|elapsed)":[^,}]+/g, ""));

/** Every file of completions as one text. */
export const completionsOf = (output: string) => {
  const folder = join(output, "completions");
  return existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((name) => `${name}\n${readFileSync(join(folder, name), "utf8")}`)
        .join("")
    : "";
};
