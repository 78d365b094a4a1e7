import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadAdapter, setAdapter } from "../../src/model/adapters/loaded.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { run } from "../cli/e2e.ts";
import { useGpu } from "../kernels/harness.ts";

// The libraries themselves load Qwench's exports. QWENCH_PYTHON: a Python with torch, transformers 5, PEFT and gguf.
const python = process.env.QWENCH_PYTHON;
const base = new URL("../../assets/tiny", import.meta.url).pathname;
const IDS = [5, 9, 33, 100, 7, 8];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "qwench-python-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const worst = (a: readonly number[], b: ArrayLike<number>) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0) / Math.max(...a.map(Math.abs));

it.skipIf(!python)("transformers, PEFT and gguf load every export, with the same logits", async () => {
  const at = (name: string) => join(root, name);
  const steps = ["--max_steps", "6", "--save_steps", "3", "--lora_r", "4", "--learning_rate", "5e-3"];
  const sft = await run("sft", "--model_name_or_path", base, "--output_dir", at("sft"), ...steps, ...ROWS);
  expect(sft.code, sft.said).toBe(0);
  const exported = (format: string, ...more: string[]) =>
    run("export", "--adapter", at("sft"), "--check", "false", "--format", format, "--output", at(format), ...more);
  for (const format of ["lora", "merged_16bit", "merged_4bit", "gguf"]) {
    const { code, said } = await exported(format, ...(format === "merged_16bit" ? ["--dtype", "float32"] : []));
    expect(code, said).toBe(0);
  }
  const gguf = join(at("gguf"), readdirSync(at("gguf")).find((name) => name.endsWith(".gguf"))!);
  const paths = [base, at("lora"), at("merged_16bit"), at("merged_4bit"), gguf, join(at("sft"), "checkpoint-6")];
  const script = new URL("check_exports.py", import.meta.url).pathname;
  const told = JSON.parse(execFileSync(python!, [script, ...paths, JSON.stringify(IDS)], { encoding: "utf8" }));

  const model = await loadModel(gpu(), (await openModel(nodeFolder(base))).checkpoint);
  setAdapter(model, await loadAdapter(model, nodeFolder(at("sft"))));
  const own = await model.logits({ input_ids: IDS, position_ids: IDS.map((_, t) => t), cu_seqlens: [0, IDS.length] });
  expect(told.lora).toBeInstanceOf(Array);
  expect(worst(told.lora, own)).toBeLessThan(1e-5);
  expect(worst(told.merged, own)).toBeLessThan(1e-5);
  expect(told.four_bit).toEqual(["nf4", 6, true]);
  expect(told.gguf).toEqual([expect.any(Number), "qwen2"]);
  expect(told.state).toEqual({
    global_step: "int",
    max_steps: "int",
    epoch: "float",
    num_input_tokens_seen: "int",
    loss: "float",
    step: "int",
  });
  expect(told.tokenizer).toEqual(expect.any(Array));
  expect(told.generation).toBeDefined();
});

const gpu = useGpu();
const ROWS = ["--dataset_name", join(base, "problems/train.jsonl"), "--eval_strategy", "no"];
