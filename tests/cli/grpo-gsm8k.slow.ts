import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { copyTokenizer, SPECS, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";
import { sharedPath } from "../shared.ts";
import { learnt } from "./grpo-e2e.ts";

// GSM8K for real: the demo's recipe on Qwen2.5-0.5B's shapes with random weights, the real tokenizer and real rows;
// completions of 16 tokens rather than 200, four a pass rather than sixteen, two steps. Killed after the first step's
// checkpoint and resumed. Writes 988 MB under the temporary folder; about ten minutes on two cores.

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const BIN = path("src/cli/bin.ts");
const RECIPE = path("recipes/gsm8k-grpo.yaml");
const TSX = createRequire(import.meta.url).resolve("tsx");
const gsm8k = sharedPath("data/gsm8k/train.jsonl");
const root = mkdtempSync(join(tmpdir(), "qwench-gsm8k-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Row {
  question: string;
  answer: string;
}

/** The rows with the shortest questions: a step costs what its prompts are long. Sums made here where there is no GSM8K. */
function rows(count: number): Row[] {
  if (!gsm8k) {
    console.warn(`There is no GSM8K at hand: the recipe runs on sums made here.`);
    const row = (i: number) => ({ question: `What is ${i} and ${3 * i} together?`, answer: `#### ${4 * i}` });
    return Array.from({ length: count }, (_, i) => row(i));
  }
  const all: Row[] = readFileSync(gsm8k, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return all.sort((a, b) => a.question.length - b.question.length).slice(0, count);
}

const UNITS: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes after `name` in the run's last line. */
function bytesOf(said: string, name: string): number {
  const [, value, unit] = new RegExp(`${name} ([\\d.]+) ([KMG]?i?B)`).exec(said)!;
  return Number(value) * UNITS[unit];
}

/** Runs the recipe; with `killAt` the process is killed as soon as it has said so. */
function run(output: string, killAt: string | null, ...more: string[]) {
  const argv = [
    ...["grpo", RECIPE, "--model_name_or_path", join(root, "model"), "--dataset_name", join(root, "rows.jsonl")],
    ...["--output_dir", output, "--max_completion_length", "16", "--per_device_train_batch_size", "4"],
    ...["--max_steps", "2", "--save_steps", "1", "--reward_funcs", ...GSM8K_REWARDS, join(root, "letters.mjs")],
    ...more,
  ];
  const child = spawn(process.execPath, ["--import", TSX, BIN, ...argv], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => {
    said += data;
    if (killAt !== null && said.includes(killAt)) child.kill("SIGKILL");
  });
  return new Promise<{ code: number | null; signal: string | null; said: string }>((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal, said })),
  );
}

it("two steps of the recipe, killed after the first and resumed; memory as forecast", async () => {
  await writeRandomCheckpoint(nodeFolder(join(root, "model")), SPECS["qwen2.5-0.5b"]);
  await copyTokenizer(nodeFolder(join(root, "model")));
  writeFileSync(
    join(root, "rows.jsonl"),
    rows(8)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(""),
  );
  // a random model earns none of the recipe's rewards: one that it can earn lets gradients flow
  const letters = "(c) => (c[0].content.match(/[a-z]/g) ?? []).length / 10";
  writeFileSync(
    join(root, "letters.mjs"),
    `export const letters = (prompts, completions) => completions.map(${letters});`,
  );
  const output = join(root, "out");

  const first = await run(output, "checkpoint-1");
  expect(first.signal, first.said).toBe("SIGKILL");
  expect(first.said).toContain("generation batches of 1 prompts × 16 completions of at most 16 tokens");
  expect(await nodeFolder(output).exists("adapter_model.safetensors")).toBe(false);

  const second = await run(output, null, "--resume_from_checkpoint", "true");
  console.log(second.said);
  expect(second.code, second.said).toBe(0);
  expect(second.said).toContain("Resumed after step 1");
  const [forecast, peak] = ["forecast", "ledger peak"].map((name) => bytesOf(second.said, name));
  expect(Math.abs(peak / forecast - 1)).toBeLessThan(0.1);

  const logs = learnt(output).map((line) => JSON.parse(line));
  expect(logs.map(({ step }) => step)).toEqual([1, 2]);
  for (const log of logs) {
    for (const name of ["loss", "grad_norm", "reward", "reward_std", "entropy"])
      expect(Number.isFinite(log[name]), name).toBe(true);
    for (const name of ["xmlcount", "soft_format", "strict_format", "int", "correctness"])
      expect(log[`rewards/${name}_reward_func/mean`], name).toBe(0); // random weights write no XML
    expect(log["completions/max_length"]).toBe(16);
    expect(log["rewards/letters/mean"]).toBeGreaterThan(0);
    expect(log.reward_std).toBeGreaterThan(0);
    expect(log.grad_norm).toBeGreaterThan(0);
  }
  const files = ["completions_00001.jsonl", "completions_00002.jsonl"];
  expect(await nodeFolder(join(output, "completions")).list()).toEqual(files);
  const batch = readFileSync(join(output, "completions", files[1]), "utf8")
    .trim()
    .split("\n");
  expect(batch).toHaveLength(16);
  const { prompt } = JSON.parse(batch[0]);
  expect(prompt).toMatch(/^<\|im_start\|>system\nRespond in the following format:\n<reasoning>\n\.\.\.\n/);
  expect(prompt).toMatch(/<\|im_start\|>assistant\n$/);
  expect(await nodeFolder(output).exists("adapter_model.safetensors")).toBe(true);
}, 2_400_000);
