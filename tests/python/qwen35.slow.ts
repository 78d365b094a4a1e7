import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadAdapter, setAdapter } from "../../src/model/adapters/loaded.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import { writeMerged } from "../../src/model/files/write-merged.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { useGpu } from "../kernels/harness.ts";
import { recipeOf, tinyRows, train } from "../train/fixtures.ts";

// QWENCH_PYTHON: a Python with torch, transformers 5 and PEFT.
const python = process.env.QWENCH_PYTHON;
const IDS = Array.from({ length: 70 }, (_, i) => (7 * i * i + 3) % 250);
const SPEC = {
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  layer_types: ["linear_attention", "full_attention", "linear_attention"],
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 8,
  linear_value_head_dim: 8,
  partial_rotary_factor: 0.5,
  rope_parameters: { rope_type: "default", rope_theta: 1e7, partial_rotary_factor: 0.5, mrope_section: [2, 1, 1] },
  vocab_size: 256,
  max_position_embeddings: 256,
  tie_word_embeddings: true,
};

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "qwench-qwen35-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const worst = (a: readonly number[], b: ArrayLike<number>) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0) / Math.max(...a.map(Math.abs));

it.skipIf(!python)("Qwen3.5's models and adapters go both ways, with the same logits", async () => {
  const script = new URL("check_qwen35.py", import.meta.url).pathname;
  const ask = (command: string, json: unknown) =>
    execFileSync(python!, [script, command, root, JSON.stringify(json)], { encoding: "utf8", maxBuffer: 1 << 28 });
  ask("make", SPEC);
  const folder = (name: string) => nodeFolder(join(root, name));
  const base = folder("base");
  const { checkpoint, notes } = await openModel(base);
  expect(notes).toEqual([]);
  const recipe = recipeOf({ max_steps: 4, lora_target_modules: "all-linear", learning_rate: 0.01 });
  await train(gpu(), { recipe, model: base, rows: tinyRows(8), output: folder("ours") });
  await writeMerged(folder("merged"), checkpoint, folder("ours"), { dtype: "F32" });
  const full = recipeOf({ max_steps: 2, use_peft: false, learning_rate: 0.001 });
  await train(gpu(), { recipe: full, model: base, rows: tinyRows(8), output: folder("trained") });

  const own = async (model: string, adapter: string | null) => {
    const loaded = await loadModel(gpu(), (await openModel(folder(model))).checkpoint);
    if (adapter) setAdapter(loaded, await loadAdapter(loaded, folder(adapter)));
    return loaded.logits({ input_ids: IDS, position_ids: IDS.map((_, t) => t), cu_seqlens: [0, IDS.length] });
  };
  const told = JSON.parse(ask("check", IDS)) as Record<string, number[]>;
  expect(worst(told.base, await own("base", null))).toBeLessThan(1e-4);
  expect(worst(told.theirs, await own("base", "theirs"))).toBeLessThan(1e-4);
  expect(worst(told.ours, await own("base", "ours"))).toBeLessThan(1e-4);
  expect(worst(told.merged, await own("merged", null))).toBeLessThan(1e-4);
  expect(worst(told.merged_text, await own("merged", null))).toBeLessThan(1e-4);
  expect(worst(told.trained, await own("trained", null))).toBeLessThan(1e-4);
});

const gpu = useGpu();
