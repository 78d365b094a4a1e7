import { afterEach, describe, expect, it, vi } from "vitest";
import { makeBatch } from "../../src/data/packing.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import type { Dispatch } from "../../src/gpu/plan.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import type { LoraConfig } from "../../src/model/adapters/lora.ts";
import { buildModel } from "../../src/model/build.ts";
import { SlotCache } from "../../src/model/cache.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { prefill } from "../../src/model/generate/decode.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { Optimizer } from "../../src/train/optimizer.ts";
import type { MicroBatch } from "../../src/train/sft/batches.ts";
import { sftStep } from "../../src/train/sft/step.ts";
import { integers, TINY, TINY_QWEN35 } from "../train/fixtures.ts";
import { PROJECTIONS } from "./projections.ts";
import { QWEN35_LINEARS } from "./qwen35.ts";

// What is recorded from a plan is what a recording without plans has: the same kernels, parameters, buffers and copies, in the
// same order. A fake device keeps all of it, so that no arithmetic is needed to compare bits.

const LIMITS = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 };
const ADAMW = { adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0 };

interface Case {
  name: string;
  spec?: object;
  modules?: readonly string[];
  /** null: trains all weights */
  lora?: Partial<LoraConfig> | null;
  keep?: boolean;
  activations?: Gpu["activations"];
  /** bytes of a binding at most */
  binding?: number;
  /** the lengths of each step's sequences */
  lengths?: readonly (readonly number[])[];
}

const QWEN3 = { ...TINY, model_type: "qwen3", num_hidden_layers: 3, head_dim: 24 };
const CASES: readonly Case[] = [
  { name: "LoRA with dropout" },
  { name: "LoRA without dropout", lora: { lora_dropout: 0 } },
  { name: "nothing recomputed", keep: true },
  { name: "bf16 activations", activations: "bf16" },
  { name: "bf16 activations, nothing recomputed", activations: "bf16", keep: true },
  { name: "DoRA", lora: { use_dora: true } },
  { name: "all weights", lora: null },
  {
    name: "rows in parts, for small bindings",
    spec: { ...TINY, num_hidden_layers: 4, intermediate_size: 480 },
    binding: 248 << 10,
    lengths: [[90], [90], [40, 50], [90]],
  },
  { name: "Qwen3", spec: QWEN3 },
  { name: "Qwen3, nothing recomputed", spec: QWEN3, keep: true },
  { name: "Qwen3.5", spec: TINY_QWEN35, modules: QWEN35_LINEARS },
  {
    name: "Qwen3.5, bf16, nothing recomputed",
    spec: TINY_QWEN35,
    modules: QWEN35_LINEARS,
    activations: "bf16",
    keep: true,
  },
];

function modelOf({
  spec = { ...TINY, num_hidden_layers: 4 },
  modules = PROJECTIONS,
  binding,
  ...rest
}: Case): Transformer {
  const { lora = {}, keep = false, activations = "f32" } = rest;
  const limits = { ...LIMITS, ...(binding && { maxStorageBufferBindingSize: binding }) };
  const gpu = fakeGpu({ limits, activations });
  Object.assign(gpu.pace, { budget: 1e15, learn: () => {} }); // no submission depends on time
  const config = parseModelConfig(spec as Parameters<typeof parseModelConfig>[0], "tiny");
  const adapter = { r: 4, lora_alpha: 8, lora_dropout: 0.1, use_rslora: false, target_modules: [...modules], ...lora };
  const { model } = buildModel(gpu, config, lora === null ? "all" : { lora: adapter }, () => (lora ? "bf16" : "f32"));
  model.gradient_checkpointing = !keep;
  return model;
}

/** Sequences of these lengths, the first two tokens of each without labels. */
function microOf(lengths: readonly number[]): MicroBatch {
  const next = integers(11);
  const rows = lengths.map((length) => {
    const input_ids = Array.from({ length }, () => next(256));
    return { input_ids, labels: input_ids.map((id, t) => (t < 2 ? -100 : id)) };
  });
  const batch = makeBatch(rows);
  return { batch, targets: shiftedTargets(batch, batch.labels) };
}

/** Everything that is recorded on a device from now on, in words. */
function logOf(gpu: Gpu): string[] {
  const log: string[] = [];
  const numbers = new Map<unknown, number>();
  const at = (buffer: unknown) => {
    if (!numbers.has(buffer)) numbers.set(buffer, numbers.size);
    return numbers.get(buffer);
  };
  const device = gpu.device as unknown as {
    createBindGroup(descriptor: GPUBindGroupDescriptor): { entries: GPUBindGroupEntry[] };
    createCommandEncoder(): Record<string, unknown>;
  };
  device.createBindGroup = ({ entries }) => ({ entries: [...entries] });
  const encoder = device.createCommandEncoder();
  const noted =
    (name: string) =>
    (...args: unknown[]) => {
      log.push(`${name} ${args.map((arg) => (typeof arg === "object" ? `b${at(arg)}` : arg))}`);
    };
  device.createCommandEncoder = () => ({
    ...encoder,
    clearBuffer: noted("clear"),
    copyBufferToBuffer: noted("copy"),
  });
  const prototype = Recorder.prototype as unknown as { emit(command: Dispatch): void };
  const { emit } = prototype;
  vi.spyOn(prototype, "emit").mockImplementation(function (this: Recorder, command) {
    if (this.gpu === gpu) {
      const { program, group, params, size, work } = command;
      const bound = (group as unknown as { entries: { binding: number; resource: GPUBufferBinding }[] }).entries.map(
        ({ binding, resource: { buffer, offset, size: bytes } }) => `${binding}=b${at(buffer)}+${offset}:${bytes}`,
      );
      log.push(`${program.name}${program.id} ${bound} (${params?.words}) ${size} ${work}`);
    }
    emit.call(this, command);
  });
  return log;
}

/** Notes no plans, so that nothing is followed. */
function withoutPlans(): void {
  vi.spyOn(Recorder.prototype, "plan").mockImplementation((_given, _seeds, body) => {
    body();
    return null;
  });
}

/** Steps of a few lengths, one of them again: a step, an evaluation, prompts. */
async function runAll(
  model: Transformer,
  lengths: Case["lengths"] = [[7, 4], [7, 4], [4, 7], [12], [7, 4]],
): Promise<{ log: string[]; peak: number; allocated: number }> {
  const { gpu } = model;
  const log = logOf(gpu);
  const optimizer = new Optimizer(gpu, model.store!, { optim: "adamw_torch", ...ADAMW });
  const options = {
    learning_rate: 1e-3,
    max_grad_norm: 1,
    label_smoothing_factor: 0,
    neftune_noise_alpha: null,
    seed: 3,
  };
  const cache = new SlotCache(gpu, model.weights.blocks, 2, 64);
  for (const [step, each] of lengths.entries()) {
    const micro = microOf(each);
    await sftStep(gpu.recorder(), model, optimizer, [micro, micro], { ...options, step });
    const record = gpu.recorder();
    record.scope(() => void model.run(record, micro.batch, micro.targets, {}, null));
    prefill(record, model, cache, [
      { ids: [1, 2, 3], slots: [0] },
      { ids: [4, 5, 6, 7], slots: [1] },
    ]);
    record.submit();
    gpu.endStep();
  }
  const { peak, allocated } = gpu.pool.ledger;
  return { log, peak, allocated };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a recording that follows plans of blocks is the same as one without", () => {
  it.each(CASES)("$name", async (given) => {
    const followed = vi.spyOn(Recorder.prototype, "follow");
    const planned = await runAll(modelOf(given), given.lengths);
    expect(followed.mock.calls.length).toBeGreaterThan(40);
    vi.restoreAllMocks();
    withoutPlans();
    const never = vi.spyOn(Recorder.prototype, "follow");
    const whole = await runAll(modelOf(given), given.lengths);
    expect(never).not.toHaveBeenCalled();
    expect(planned.log.length).toBeGreaterThan(500);
    expect(planned).toEqual(whole);
  });
});

/** One step of a model's training, and what it made anew. */
async function made(model: Transformer, step: number, lengths: readonly number[]) {
  const { gpu } = model;
  const dispatched = vi.spyOn(Recorder.prototype, "dispatch");
  const noted = vi.spyOn(Recorder.prototype, "plan");
  const strings = vi.spyOn(JSON, "stringify");
  const groups = vi.spyOn(gpu.device, "createBindGroup");
  const buffers = vi.spyOn(gpu.pool, "take");
  const kernels = gpu.programs.size;
  const micro = microOf(lengths);
  await trained(model, micro, step);
  const count = {
    bindGroups: groups.mock.calls.length,
    kernels: gpu.programs.size - kernels,
    plans: noted.mock.calls.length,
    strings: strings.mock.calls.length,
    resolved: dispatched.mock.calls.length,
    tensors: buffers.mock.calls.length,
  };
  vi.restoreAllMocks();
  return count;
}

async function trained(model: Transformer, micro: MicroBatch, step: number): Promise<void> {
  const optimizer = optimizers.get(model) ?? new Optimizer(model.gpu, model.store!, { optim: "adamw_torch", ...ADAMW });
  optimizers.set(model, optimizer);
  const options = {
    learning_rate: 1e-3,
    max_grad_norm: 1,
    label_smoothing_factor: 0,
    neftune_noise_alpha: null,
    seed: 3,
  };
  await sftStep(model.gpu.recorder(), model, optimizer, [micro], { ...options, step });
}
const optimizers = new WeakMap<Transformer, Optimizer>();

describe("a step of a known shape", () => {
  it("makes no kernel, bind group, plan or key, whatever its tokens", async () => {
    const model = modelOf({ name: "steps" });
    const first = await made(model, 0, [7, 4]);
    expect(first.kernels).toBeGreaterThan(10);
    expect(first.bindGroups).toBeGreaterThan(100);
    await made(model, 1, [7, 4]); // the pool's buffers are in order from here on
    for (const lengths of [
      [7, 4],
      [4, 7],
    ]) {
      expect(await made(model, 2, lengths)).toMatchObject({ bindGroups: 0, kernels: 0, plans: 0, strings: 0 });
    }
  });

  it.each([
    ["with twice the layers resolves as many dispatches: those outside blocks", [7, 4]],
    ["of a length that was never seen resolves the dispatches of two layers, and of no more", [9, 5]],
  ])("%s", async (_, lengths) => {
    const [few, many] = [4, 8].map((num_hidden_layers) => modelOf({ name: "", spec: { ...TINY, num_hidden_layers } }));
    const counts: number[] = [];
    for (const model of [few, many]) {
      await made(model, 0, [7, 4]);
      counts.push((await made(model, 1, lengths)).resolved);
    }
    expect(counts[1]).toBe(counts[0]);
  });

  it("keeps the plans of 64 shapes at most", async () => {
    const model = modelOf({ name: "", lora: { lora_dropout: 0 } });
    await made(model, 0, [5]);
    for (let length = 6; length < 6 + 64; length++) await made(model, 1, [length]);
    expect((await made(model, 2, [69])).plans).toBe(0);
    expect((await made(model, 3, [5])).plans).toBeGreaterThan(0);
  });
});

it("plans follow a swapped adapter, tuned tiles and the precision", async () => {
  const model = modelOf({ name: "" });
  const forward = () => {
    const record = model.gpu.recorder();
    const resolved = vi.spyOn(Recorder.prototype, "plan");
    record.scope(() => void model.forward(record, microOf([7, 4]).batch));
    record.submit();
    const count = resolved.mock.calls.length;
    resolved.mockRestore();
    return count;
  };
  const noted = forward();
  expect(noted).toBeGreaterThan(0);
  expect(forward()).toBe(0);
  const loras = model.linears.map((linear) => linear.lora);
  for (const linear of model.linears) linear.lora = null;
  expect(forward()).toBeGreaterThan(0);
  expect(forward()).toBe(0);
  model.linears.forEach((linear, i) => {
    linear.lora = loras[i];
  });
  expect(forward()).toBe(0); // the plans of before
  model.gpu.tuning.set("another", "{}");
  expect(forward()).toBeGreaterThan(0);
  model.gpu.activations = "bf16";
  expect(forward()).toBeGreaterThan(0);
});
