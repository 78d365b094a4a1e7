import { afterAll, beforeAll, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { precisionOf } from "../../src/session/precision.ts";
import { profileFor } from "../gpu/adapters.ts";
import { ownGpu } from "../gpu/open.ts";
import { useGpu } from "../kernels/harness.ts";
import { integers, tinyModel } from "../train/fixtures.ts";
import { packedBatch } from "./gradients.ts";
import { PROJECTIONS } from "./projections.ts";

// matmul_precision high, on an adapter without matrix units: the builtins are spelled out, everything else is what runs on a GPU.

/** of a model's log-probs and gradients in `high`, relative to the largest of each */
const TOLERANCE = 2e-3;

const plain = useGpu(); // its kernels are those of other tests
let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu({ disable: ["textures"] }); // matrix units read no textures
  if (!gpu.features.f16) return;
  // a subgroup of 256 threads has one matrix, which is little code: others take a CPU adapter twice as long to compile
  const size = gpu.limits.maxComputeInvocationsPerWorkgroup < 1024 ? 64 : 256;
  gpu.features.matrix = { type: "f16", m: 32, n: 32, k: 16, size, multiple: size, emulate: true };
});
afterAll(() => gpu.destroy());

async function load(gpu: Gpu, lora_dropout: number): Promise<Transformer> {
  const lora = { r: 8, lora_alpha: 16, lora_dropout, use_rslora: false, target_modules: PROJECTIONS };
  const checkpoint = await openCheckpoint(await tinyModel());
  const model = await loadModel(gpu, checkpoint, { trained: { lora }, dtype: "bfloat16" });
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

/** Log-probs and gradients of a loss whose slope is `slope`. */
async function run(gpu: Gpu, { dropout, slope }: { dropout: number; slope: number }) {
  const model = await load(gpu, dropout);
  const record = gpu.recorder();
  model.store!.clearGrads(record);
  const reads = record.scope(() => {
    const targets = shiftedTargets(batch, labels);
    const rows = model.run(record, batch, targets, { dropoutSeed: 5 }, (r, _rows, _start, count) =>
      r.upload(new Float32Array(count).fill(slope), [count], "dObjective"),
    );
    return { logp: record.read(rows!.logp), grads: record.read(model.store!.grads) };
  });
  record.submit();
  return { logp: new Float32Array(await reads.logp), grads: new Float32Array(await reads.grads) };
}

/** Errors of `high` of a run, relative to the largest log-prob and gradient of `highest`. */
async function errorsOf(what: { dropout: number; slope: number }): Promise<[logp: number, grads: number]> {
  gpu.precision = "high";
  const [want, got] = [await run(plain(), what), await run(gpu, what)];
  return [relativeError(got.logp, want.logp), relativeError(got.grads, want.grads)];
}

it.each([0, 0.1])("log-probs and gradients keep their tolerance, dropout %s", async (dropout) => {
  const errors = await errorsOf({ dropout, slope: -1 / 97 });
  for (const error of errors) expect(error).toBeLessThan(TOLERANCE);
  const used = new Set(gpu.programs.kernels.map(({ shader }) => shader.name));
  for (const name of ["matmulSubgroupMatrix", "attentionMatrices", "attentionMatricesBackwardQ"])
    expect(used.has(name), name).toBe(gpu.features.f16);
  if (gpu.features.f16) expect(errors[1]).toBeGreaterThan(0);
});

it("gradients as small as 1e-12 keep the same tolerance: f16 alone would lose them", async () => {
  const [, error] = await errorsOf({ dropout: 0, slope: -1e-12 });
  expect(error).toBeLessThan(TOLERANCE);
});

it("high is the default of 16-bit and quantised checkpoints on GPUs with matrix units of f16, and nowhere else", () => {
  const matrix = { type: "f16", m: 16, n: 16, k: 16, size: 32, multiple: 32 } as const;
  const on = (name: Parameters<typeof profileFor>[0], own: typeof matrix | { type: "f32" } | null) =>
    ({ features: { matrix: own }, profile: profileFor(name) }) as unknown as Gpu;
  for (const stored of ["bf16", "f16", "nf4", "int8"] as const) {
    expect(precisionOf("auto", on("nvidia", matrix), stored)).toBe("high");
    expect(precisionOf("auto", on("nvidia", null), stored)).toBe("highest");
    expect(precisionOf("auto", on("apple", { type: "f32" }), stored)).toBe("highest");
  }
  expect(precisionOf("auto", on("nvidia", matrix), "f32")).toBe("highest");
  expect(precisionOf("auto", on("swiftshader", matrix), "bf16")).toBe("highest");
  expect(precisionOf("high", on("nvidia", matrix), "f32")).toBe("high");
  expect(precisionOf("high", on("nvidia", null), "bf16")).toBe("highest");
  expect(precisionOf("highest", on("nvidia", matrix), "bf16")).toBe("highest");
});
