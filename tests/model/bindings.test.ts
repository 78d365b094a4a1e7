import { expect, it } from "vitest";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { useGpu } from "../kernels/harness.ts";
import { integers, tinyModel } from "../train/fixtures.ts";
import { PROJECTIONS } from "./projections.ts";

// Adapters with small bindings give the same numbers with more dispatches.

const gpu = useGpu();

/** Runs something on a device whose bindings hold `bytes`. */
async function within<T>(bytes: number | null, run: () => Promise<T>): Promise<T> {
  const own = Object.getOwnPropertyDescriptor(gpu(), "limits")!;
  const get = (limits: GPUSupportedLimits, name: string) =>
    name === "maxStorageBufferBindingSize" ? bytes : Reflect.get(limits, name, limits);
  if (bytes !== null) Object.defineProperty(gpu(), "limits", { ...own, value: new Proxy(own.value, { get }) });
  try {
    return await run();
  } finally {
    Object.defineProperty(gpu(), "limits", own);
  }
}

async function load(lora_dropout: number): Promise<Transformer> {
  const lora = { r: 4, lora_alpha: 8, lora_dropout, use_rslora: false, target_modules: PROJECTIONS };
  const checkpoint = await openCheckpoint(await tinyModel());
  const model = await loadModel(gpu(), checkpoint, { trained: { lora }, dtype: "float32" });
  const next = integers(5);
  for (const { name, size } of model.store!.parameters) {
    model.store!.write(
      gpu(),
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

async function gradients(model: Transformer): Promise<{ logp: Float32Array; grads: Float32Array }> {
  const record = gpu().recorder();
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
  const apart = await within(60_000, () => load(0)); // gate and up have 82 kB
  expect(together.weights.blocks[0][1].body.linears.gate_up).toHaveLength(1);
  expect(apart.weights.blocks[0][1].body.linears.gate_up).toHaveLength(2);
  const [want, got] = [await gradients(together), await gradients(apart)];
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-5);
});

it("kept and recomputed activations give identical gradients", async () => {
  const model = await load(0.25);
  const want = await gradients(model);
  model.gradient_checkpointing = false;
  const got = await gradients(model);
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-6);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-6);
  const again = await within(64 * 320 * 4, () => gradients(model));
  expect(relativeError(again.grads, want.grads)).toBeGreaterThan(1e-3); // the dropout mask differs then
});

it("the MLP processes as many rows at once as fit a binding", async () => {
  const model = await load(0);
  const want = await gradients(model);
  const got = await within(64 * 320 * 4, () => gradients(model)); // 64 rows of gate and up
  expect(relativeError(got.logp, want.logp)).toBeLessThan(1e-5);
  expect(relativeError(got.grads, want.grads)).toBeLessThan(1e-5);
});
