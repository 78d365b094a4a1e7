import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";
import { wordProblems, working, xmlCompletion } from "../../src/data/sets/word-problems.ts";
import type { Comparison } from "../../src/eval/compare/compare.ts";
import type { EvalFile } from "../../src/eval/results.ts";

// Three checkpoints of the embedded model, trained, evaluated and compared by the commands themselves. What is best and
// what is lost is planted: the adapter of the last step lies in the middle checkpoint, that of the first in the last one.

const BIN = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url));
const TSX = createRequire(import.meta.url).resolve("tsx/cli");
const root = mkdtempSync(join(tmpdir(), "qwench-checkpoints-"));
const at = (...parts: string[]) => join(root, ...parts);
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function qwench(...argv: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [TSX, BIN, ...argv], {
    cwd: root,
    maxBuffer: 1 << 26,
  });
  return stdout;
}

const model = embeddedModelFolder();
const adapter = (step: number) => `out/checkpoint-${step}`;
const read = (name: string): EvalFile => JSON.parse(readFileSync(at(`${name}.json`), "utf8"));
const names = ["base", "checkpoint-8", "checkpoint-16", "checkpoint-24"];
const files = names.map((name) => `${name}.json`);
const solvers = () => names.map((name) => Object.values(read(name).records).map(({ is_correct }) => is_correct));

beforeAll(async () => {
  mkdirSync(at("rows"));
  for (const [split, count] of [
    ["train", 512],
    ["test", 32],
  ] as const) {
    const rows = wordProblems({ seed: 5, count, split }).map(({ question, steps, result }) => ({
      prompt: [{ role: "user", content: question }],
      completion: [{ role: "assistant", content: xmlCompletion(working(steps), result) }],
    }));
    writeFileSync(at("rows", `${split}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
  const recipe = {
    model_name_or_path: model,
    dataset_name: "rows",
    output_dir: "out",
    lora_r: 16,
    lora_alpha: 32,
    per_device_train_batch_size: 16,
    max_steps: 24,
    learning_rate: 2e-3,
    lr_scheduler_type: "constant",
    save_steps: 8,
    eval_strategy: "steps",
    eval_steps: 8,
  };
  await qwench("sft", ...Object.entries(recipe).flatMap(([name, value]) => [`--${name}`, String(value)]));
  copyFileSync(at(adapter(24), "adapter_model.safetensors"), at(adapter(16), "adapter_model.safetensors"));
  copyFileSync(at(adapter(8), "adapter_model.safetensors"), at(adapter(24), "adapter_model.safetensors"));
  const settings = ["--limit", "60", "--n", "4", "--temperature", "0.6", "--k", "1,4", "--seed", "0"];
  await qwench("eval", "embedded", "--model", model, ...settings, "--name", "base", "--output", "base.json");
  for (const step of [8, 16, 24]) {
    const output = `checkpoint-${step}.json`;
    await qwench("eval", "embedded", "--model", model, "--adapter", adapter(step), ...settings, "--output", output);
  }
});

describe("three checkpoints of the embedded model", () => {
  it("are compared: the planted best one, and everything that it had and the next one lost", async () => {
    const out = await qwench("compare", ...files);
    console.log(out);
    expect(out).toMatch(/^Best by benchmark: checkpoint-16, pass@1 /m);
    // the losses are those of training, of which the last was the lowest: its adapter is no longer there
    expect(out).toMatch(/^Best by validation loss: checkpoint-24, eval_loss /m);
    expect(out).toContain("Benchmark and validation loss do not agree.");

    const { datasets }: Comparison = JSON.parse(await qwench("compare", ...files, "--json"));
    const solved = solvers();
    const [middle, end] = [solved[2], solved[3]];
    const lost = middle.flatMap((was, p) => (was && !end[p] ? [Object.values(read("base").records)[p].problem] : []));
    expect(lost.length).toBeGreaterThan(5);
    const named = datasets[0].regressions
      .filter(({ model: now, before }) => now === "checkpoint-24" && before.model === "checkpoint-16")
      .map(({ problem }) => problem);
    expect(named).toEqual(lost);
    const { mean, low } = datasets[0].models[2].improvement!.pass_at_1;
    expect(mean).toBeGreaterThan(20);
    expect(low).toBeGreaterThan(0);
  });

  it("shows one planted regression among those that all solve", async () => {
    const solved = solvers();
    const p = solved[0].findIndex((_, i) => solved.every((own) => own[i]));
    expect(p).toBeGreaterThanOrEqual(0);
    const file = read("checkpoint-16");
    const record = Object.values(file.records)[p];
    Object.assign(record, { is_correct: false, n_correct: 0, correct_responses: record.responses.map(() => false) });
    writeFileSync(at("planted.json"), JSON.stringify(file));
    const out = await qwench("compare", files[0], files[1], "planted.json");
    const line = out.split("\n").find((each) => each.includes("checkpoint-16 0/4") && each.includes(record.problem));
    expect(line).toContain(` ${record.original_id}  checkpoint-8 `);
  });
});
