import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { loadModel } from "../../src/model/files/load.ts";
import type { RowGradient } from "../../src/model/layers/head.ts";
import { passParts } from "../../src/model/pass-parts.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import type { BatchImages } from "../../src/model/vision/images.ts";
import { Optimizer, update } from "../../src/train/optimizer.ts";
import { useGpu } from "../kernels/harness.ts";
import { integers, recipeOf, tinyModel } from "../train/fixtures.ts";
import { packedBatch } from "./gradients.ts";
import { PROJECTIONS } from "./projections.ts";
import { visionConfig } from "./vision/fixtures.ts";

// Adapters with small bindings give the same numbers with more dispatches.

const gpu = useGpu();

/**
 * Runs something on a device whose bindings hold `bytes`, and whose buffers hold `buffer` if that is given.
 *
 * @param run may call `lift` for the device's own limits again
 */
async function within<T>(
  bytes: number,
  run: (small: Gpu, lift: () => void) => Promise<T>,
  buffer?: number,
): Promise<T> {
  const small = gpu().again();
  const own = Object.getOwnPropertyDescriptor(small, "limits")!;
  const get = (limits: GPUSupportedLimits, name: string) => {
    if (name === "maxBufferSize" && buffer) return buffer;
    return name === "maxStorageBufferBindingSize" ? bytes : Reflect.get(limits, name, limits);
  };
  Object.defineProperty(small, "limits", { ...own, value: new Proxy(own.value, { get }) });
  try {
    return await run(small, () => Object.defineProperty(small, "limits", own));
  } finally {
    await small.clear();
  }
}

async function load(lora_dropout: number, on = gpu()): Promise<Transformer> {
  const lora = { r: 4, lora_alpha: 8, lora_dropout, use_rslora: false, target_modules: PROJECTIONS };
  const checkpoint = await openCheckpoint(await tinyModel());
  const model = await loadModel(on, checkpoint, { trained: { lora }, dtype: "float32" });
  const next = integers(5);
  for (const { name, size } of model.store!.parameters) {
    model.store!.write(
      on,
      name,
      Float32Array.from({ length: size }, () => (next(2000) - 1000) / 5000),
    );
  }
  return model;
}

const length = 100;
const input_ids = Array.from({ length }, (_, i) => (i * 37 + 11) % 256);
const batch = { input_ids, position_ids: input_ids.map((_, i) => i), cu_seqlens: [0, length] };

const labels = input_ids.map((id, i) => (i < 50 ? -100 : id)); // their logits are one piece

async function gradients(model: Transformer, on = gpu()): Promise<{ logp: Float32Array; grads: Float32Array }> {
  const record = on.recorder();
  record.clear(model.store!.grads);
  const reads = record.scope(() => {
    const rows = model.run(
      record,
      batch,
      shiftedTargets(batch, labels),
      { dropoutSeed: 5 },
      (inner, _rows, _start, count) => {
        const ones = new Float32Array(count).fill(1);
        return inner.upload(ones, [count], "dObjective");
      },
    );
    return { logp: record.read(rows!.logp), grads: record.read(model.store!.grads) };
  });
  record.submit();
  return { logp: new Float32Array(await reads.logp), grads: new Float32Array(await reads.grads) };
}

it("layers that one binding cannot hold together are computed one by one", async () => {
  const together = await load(0);
  expect(together.weights.blocks[0][1].body.linears.gate_up).toHaveLength(1);
  const want = await gradients(together);
  // gate and up have 82 kB, and their outputs more
  const got = await within(60_000, async (small, lift) => {
    const apart = await load(0, small);
    expect(apart.weights.blocks[0][1].body.linears.gate_up).toHaveLength(2);
    lift();
    return gradients(apart, small);
  });
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-5);
});

it("kept and recomputed activations give the same gradients, but for the order of sums", async () => {
  const model = await load(0.25);
  const want = await gradients(model);
  model.gradient_checkpointing = false;
  const got = await gradients(model);
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-6);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(3e-6);
  const again = await within(64 * 320 * 4, async (small) => gradients(await load(0.25, small), small));
  expect(relativeError(again.grads, want.grads)).toBeLessThan(1e-5); // rows at a time have the masks of the whole batch
});

it("the MLP processes as many rows at once as fit a binding", async () => {
  const want = await gradients(await load(0));
  // 64 rows of gate and up
  const got = await within(64 * 320 * 4, async (small) => gradients(await load(0, small), small));
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-5);
});

it("a pass of some sequences at a time draws the dropout masks and the noise of the whole batch", async () => {
  const { batch: several, labels: each } = packedBatch([60, 1, 75, 70], 256);
  const noise = { scale: Float32Array.from(each, (_, t) => 0.01 * (1 + (t % 3))), seed: 9 };
  const run = async (seed: number, on = gpu()) => {
    const model = await load(0.25, on);
    const record = on.recorder();
    model.store!.clearGrads(record);
    const reads = record.scope(() => {
      const rows = model.run(
        record,
        several,
        shiftedTargets(several, each),
        { dropoutSeed: seed, noise },
        (inner, _rows, _start, count) => inner.upload(new Float32Array(count).fill(1), [count], "dObjective"),
      );
      return { logp: record.read(rows!.logp), grads: record.read(model.store!.grads) };
    });
    record.submit();
    return { logp: new Float32Array(await reads.logp), grads: new Float32Array(await reads.grads) };
  };
  const want = await run(5);
  const got = await within(4 * 64 * 320, (small) => run(5, small));
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-5);
  expect(relativeError((await run(6)).grads, want.grads)).toBeGreaterThan(1e-3);
});

describe("full training", () => {
  const lengths = [60, 1, 75, 70];
  const { batch: packed, labels: each } = packedBatch(lengths, 256);
  const targets = shiftedTargets(packed, each);
  /** the slope of a row that depends on its place and on its log-prob */
  const slope = (record: Recorder, rows: number, start: number) =>
    record.upload(
      Float32Array.from({ length: rows }, (_, i) => -1 / (1 + ((start + i) % 7))),
      [rows],
      "dObjective",
    );

  async function trained(ofAll: boolean, on = gpu()) {
    const checkpoint = await openCheckpoint(await tinyModel());
    const model = await loadModel(on, checkpoint, { trained: "all", dtype: "float32" });
    const store = model.store!;
    const optimizer = new Optimizer(on, store, recipeOf({ optim: "sgd" }));
    const record = on.recorder();
    store.clearGrads(record);
    const logp = record.scope(() => {
      const gradient: RowGradient = ofAll
        ? { ofAll: (r, rows) => slope(r, rows.logp.shape[0], 0) }
        : (r, _rows, start, count) => slope(r, count, start);
      return record.read(model.run(record, packed, targets, {}, gradient)!.logp);
    });
    const grads = Promise.all(store.shards.map((shard) => record.read(shard.grads)));
    await update(record, store, optimizer, { step: 0, learning_rate: 1e-3, max_grad_norm: 1 });
    const values = await Promise.all(store.shards.map((shard) => on.read(shard.values)));
    const named = (buffers: readonly ArrayBuffer[]) =>
      new Map(store.split(buffers).map(({ name, data }) => [name, data]));
    return {
      shards: store.shards.length,
      logp: new Float32Array(await logp),
      grads: named(await grads),
      values: named(values),
    };
  }

  it("parameters in several buffers and passes of some sequences give the same step", async () => {
    const want = await trained(false);
    expect(want.shards).toBe(1);
    const [binding, buffer] = [4 * 64 * 320, 4 * 20_000]; // 64 rows of gate and up, or 106 tokens of attention's gradients
    for (const ofAll of [false, true]) {
      const got = await within(binding, (small) => trained(ofAll, small), buffer);
      expect(got.shards).toBeGreaterThan(3);
      expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
      for (const [name, data] of want.grads)
        if (!name.endsWith("k_proj.bias"))
          // a key's bias has no gradient but rounding
          expect(relativeError(got.grads.get(name)!, data), name).toBeLessThan(1e-5);
      for (const [name, data] of want.values)
        expect(relativeError(got.values.get(name)!, data), name).toBeLessThan(1e-4);
    }
  });

  it("a pass is cut between sequences, with each row's targets", () => {
    const parts = passParts(packed, targets, { tokens: 106, patches: 0 });
    expect(parts.map(({ batch: { cu_seqlens } }) => [...(cu_seqlens as number[])])).toEqual([
      [0, 60, 61],
      [0, 75],
      [0, 70],
    ]);
    expect(parts.flatMap(({ batch: { input_ids } }) => [...(input_ids as number[])])).toEqual(packed.input_ids);
    expect(parts.flatMap(({ targets: own, token }) => [...own.rows].map((row) => row + token))).toEqual([
      ...targets.rows,
    ]);
    expect(parts.flatMap(({ targets: own }) => [...own.tokens])).toEqual([...targets.tokens]);
    expect(parts.map(({ first }) => first)).toEqual([0, 58, 131]);
    expect(
      passParts(packed, targets, { tokens: 10, patches: 0 }).map(({ batch: own }) => own.input_ids.length),
    ).toEqual(lengths);
  });

  it("a pass is cut with the images of each part", () => {
    const vision = parseModelConfig(visionConfig()).vision!;
    const image = vision.image_token_id;
    // three sequences: an image of 2 tokens; text; two images of 1 and 3 tokens
    const input_ids = [1, image, image, 2, 1, 2, image, 2, image, image, image];
    const grids = ([2, 1, 3] as const).map((tokens) => [1, 2, 2 * tokens] as const);
    const batch = { input_ids, position_ids: input_ids.map((_, t) => t), cu_seqlens: [0, 4, 6, 11] };
    const none = { rows: new Uint32Array(), tokens: new Uint32Array() };
    const features = Float32Array.from({ length: 6 * 5 }, (_, i) => Math.floor(i / 5));
    const seen = passParts({ ...batch, images: { features, grids } }, none, { tokens: 6, patches: 0 }, vision).map(
      ({ batch: own }) => own.images,
    );
    expect(seen).toEqual([
      { features: features.subarray(0, 10), grids: grids.slice(0, 1) },
      { features: features.subarray(10), grids: grids.slice(1) },
    ]);
    const pixels = Float32Array.from({ length: 24 * 7 }, (_, i) => i);
    const patches = passParts({ ...batch, images: { pixels, grids } }, none, { tokens: 4, patches: 100 }, vision).map(
      ({ batch: own }) => own.images,
    );
    expect(patches).toEqual([
      { pixels: pixels.subarray(0, 8 * 7), grids: grids.slice(0, 1) },
      undefined,
      { pixels: pixels.subarray(8 * 7), grids: grids.slice(1) },
    ]);
  });

  it("a pass is cut by the patches of a trained tower, and not by those of a frozen one", () => {
    const vision = parseModelConfig(visionConfig()).vision!;
    const image = vision.image_token_id;
    const input_ids = [1, image, image, 1, image, image, 1, image, image, 1, 2]; // three images of 8 patches, and a text
    const grids = Array.from({ length: 3 }, () => [1, 4, 2] as const);
    const batch = { input_ids, position_ids: input_ids.map((_, t) => t), cu_seqlens: [0, 3, 6, 9, 11] };
    const none = { rows: new Uint32Array(), tokens: new Uint32Array() };
    const lengthsOf = (images: BatchImages, patches: number) =>
      passParts({ ...batch, images }, none, { tokens: 100, patches }, vision).map(
        (part) => part.batch.input_ids.length,
      );
    const pixels = { pixels: new Float32Array(24), grids };
    expect(lengthsOf(pixels, 16)).toEqual([6, 5]);
    expect(lengthsOf(pixels, 7)).toEqual([3, 3, 3, 2]);
    expect(lengthsOf({ features: new Float32Array(6), grids }, 7)).toEqual([11]);
  });
});
