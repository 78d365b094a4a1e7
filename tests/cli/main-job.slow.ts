import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { copyTokenizer, SPECS, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { sharedPath } from "../shared.ts";
import { builtCli } from "./built.ts";

// The main job at full size: Qwen2.5-0.5B's shapes in bf16, the real tokenizer, GSM8K rows, LoRA r=16 on all seven
// projections, five optimizer steps of 256 tokens. Writes 988 MB under the temporary folder.

const gsm8k = sharedPath("data/gsm8k/train.jsonl");
const root = mkdtempSync(join(tmpdir(), "qwench-main-job-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const UNITS: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes after `name` in the run's last line. */
function bytesOf(said: string, name: string): number {
  const [, value, unit] = new RegExp(`${name} ([\\d.]+) ([KMG]?i?B)`).exec(said)!;
  return Number(value) * UNITS[unit];
}

it("fine-tunes 0.5B: the loss falls, the forecast holds, and the process stays within the weights and a gigabyte", async () => {
  const model = join(root, "model");
  const weights = await writeRandomCheckpoint(nodeFolder(model), SPECS["qwen2.5-0.5b"]);
  await copyTokenizer(nodeFolder(model));
  let rows = gsm8k ?? "";
  if (!gsm8k) {
    console.warn(`There is no GSM8K at hand: the job runs on sums made here.`);
    rows = join(root, "rows.jsonl");
    const row = (i: number) => ({
      question: `What is ${i} and ${3 * i} together?`,
      answer: `${i} + ${3 * i} = ${4 * i}\n#### ${4 * i}`,
    });
    writeFileSync(rows, Array.from({ length: 400 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(""));
  }
  const argv = [
    ..."sft --max_steps 5 --logging_steps 1 --save_strategy no --packing true --max_length 256".split(" "),
    ..."--per_device_train_batch_size 1 --lora_r 16 --lora_alpha 32 --learning_rate 2e-3".split(" "),
    "--lr_scheduler_type",
    "constant",
    "--model_name_or_path",
    model,
    "--dataset_name",
    rows,
    "--output_dir",
    join(root, "out"),
  ];
  const child = spawn(process.execPath, [await builtCli(), ...argv], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => {
    said += data;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code, said).toBe(0);
  console.log(said);
  const losses: number[] = readFileSync(join(root, "out", "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).loss);
  expect(losses).toHaveLength(5);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(losses[4]).toBeLessThan(losses[0]);
  expect(await nodeFolder(join(root, "out")).exists("adapter_model.safetensors")).toBe(true);
  const [forecast, peak, rss] = ["forecast", "ledger peak", "peak RSS"].map((name) => bytesOf(said, name));
  expect(Math.abs(peak / forecast - 1)).toBeLessThan(0.1);
  expect(rss).toBeLessThan(weights + 1e9);
}, 1_200_000);
