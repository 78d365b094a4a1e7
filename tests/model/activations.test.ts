import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { cacheBytes } from "../../src/model/architectures/tensors.ts";
import { SlotCache } from "../../src/model/cache.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { generate } from "../../src/model/generate/generate.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { freshGpu } from "../kernels/harness.ts";
import { integers, TINY, TINY_QWEN35, tinyModel } from "../train/fixtures.ts";
import { packedBatch } from "./gradients.ts";
import { PROJECTIONS } from "./projections.ts";
import { QWEN35_LINEARS } from "./qwen35.ts";

// `bf16: true`: what a step keeps is rounded to bf16.

/** of a model's log-probs in bf16, relative to the largest: the rounding of logits */
const LOGPS = 4e-3;
/** of its gradients, relative to the largest: every layer adds the rounding of what it kept */
const GRADIENTS = 4e-2;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await freshGpu();
});
afterAll(() => gpu.clear());

async function load(spec: typeof TINY, modules: readonly string[]): Promise<Transformer> {
  const lora = { r: 8, lora_alpha: 16, lora_dropout: 0.1, use_rslora: false, target_modules: [...modules] };
  const model = await loadModel(gpu, await openCheckpoint(await tinyModel(spec, 3)), { trained: { lora } });
  const next = integers(5);
  for (const { name, size } of model.store!.parameters) {
    model.store!.write(
      gpu,
      name,
      Float32Array.from({ length: size }, () => (next(2000) - 1000) / 5000),
    );
  }
  return model;
}

const { batch, labels } = packedBatch([60, 37], 256);

/** Log-probs and gradients, and the most bytes of activations and logits at a time. */
async function run(model: Transformer, stored: Gpu["activations"]) {
  gpu.activations = stored;
  const { ledger } = gpu.pool;
  gpu.trim();
  ledger.peak = ledger.allocated;
  const before = ledger.allocated;
  const record = gpu.recorder();
  model.store!.clearGrads(record);
  const reads = record.scope(() => {
    const targets = shiftedTargets(batch, labels);
    const rows = model.run(record, batch, targets, { dropoutSeed: 5 }, (r, _rows, _start, count) =>
      r.upload(new Float32Array(count).fill(-1 / 97), [count], "dObjective"),
    );
    return { logp: record.read(rows!.logp), grads: record.read(model.store!.grads) };
  });
  record.submit();
  const result = { logp: new Float32Array(await reads.logp), grads: new Float32Array(await reads.grads) };
  gpu.activations = "f32";
  return { ...result, bytes: ledger.peak - before };
}

// at these widths, what one layer computes at a time is much of the memory: delta nets hold their states
describe.each([
  ["Qwen2", TINY, PROJECTIONS, [0.9, 0.75]],
  // the gradient of a normed key grows without bound as the key shrinks, and its rounding with it: few are short with these weights
  ["Qwen3.5", { ...TINY_QWEN35, initializer_range: 0.1 }, QWEN35_LINEARS, [0.96, 0.85]],
] as const)("%s", (_, spec, modules, shares) => {
  it.each([
    ["blocks recomputed", true],
    ["activations kept", false],
  ])("log-probs and gradients keep their tolerance, in less memory: %s", async (_, recompute) => {
    const model = await load({ ...spec, num_hidden_layers: 6 }, modules);
    model.gradient_checkpointing = recompute;
    const want = await run(model, "f32");
    const got = await run(model, "bf16");
    const [logps, gradients] = [relativeError(got.logp, want.logp), relativeError(got.grads, want.grads)];
    expect(logps).toBeLessThan(LOGPS);
    expect(gradients).toBeLessThan(GRADIENTS);
    expect(Math.min(logps, gradients)).toBeGreaterThan(0);
    expect(got.bytes).toBeLessThan(shares[recompute ? 0 : 1] * want.bytes);
    const again = await run(model, "f32"); // nothing of bf16 is left
    expect(again.logp).toEqual(want.logp);
    expect(again.grads).toEqual(want.grads);
  });

  it("keys and values take half the bytes, and drawn tokens have log-probs of the same tolerance", async () => {
    const model = await loadModel(gpu, await openCheckpoint(await tinyModel(spec)));
    const options = {
      temperature: 1,
      top_k: 0,
      top_p: 1,
      min_p: 0,
      repetition_penalty: 1,
      max_new_tokens: 12,
      eos_token_ids: [],
      seed: 0,
    };
    const prompt_ids = Array.from({ length: 66 }, (_, i) => (7 * i * i + i) % 256);
    const draw = async (stored: Gpu["activations"]) => {
      gpu.activations = stored;
      const made = await generate(model, [{ prompt_ids, sequence: 0 }], { ...options, slots: 1, block: 4 });
      const cache = new SlotCache(gpu, model.weights.blocks, 3, 40);
      const tensors = cache.layers.flat().flatMap((each) => Object.values(each ?? {}));
      const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
      cache.drop();
      gpu.activations = "f32";
      expect(bytes).toBe(3 * cacheBytes(model.config, 40, stored).total);
      return { ...made[0], bytes };
    };
    const [want, got] = [await draw("f32"), await draw("bf16")];
    expect(got.bytes).toBeLessThan(want.bytes);
    // a draw may differ where two tokens are about as likely: up to there, log-probs are compared
    const same = want.ids.findIndex((id, i) => id !== got.ids[i]);
    const count = same < 0 ? want.ids.length : same;
    expect(count).toBeGreaterThan(0);
    const cut = (logps: ArrayLike<number>) => Array.from(logps).slice(0, count);
    const error = relativeError(cut(got.logps), cut(want.logps));
    expect(error).toBeLessThan(LOGPS);
    expect(error).toBeGreaterThan(0);
  });
});
