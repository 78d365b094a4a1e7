import { Gpu } from "../src/gpu/device.ts";
import type { Dispatch } from "../src/gpu/plan.ts";
import { factsOf, profileOf } from "../src/gpu/profile.ts";
import { Recorder } from "../src/gpu/recorder.ts";
import { byteLength, sizeOf, type Tensor } from "../src/gpu/tensor.ts";
import { generate } from "../src/model/generate/generate.ts";
import { openNullAdapter } from "../src/platform/node/node.ts";
import { sftStep } from "../src/train/sft/step.ts";
import { GREEDY } from "./generate.ts";
import { microBatch, trainee } from "./models.ts";
import { about, type BenchRow } from "./rows.ts";
import { benchModel } from "./sizes.ts";

// The processor time of a dispatch, in JavaScript and in Dawn. Dawn's null backend computes nothing else.

/** Rows of the embedding. Their number does not change the dispatches, and the null backend keeps the table in memory. */
const VOCAB = 4096;
const STEPS = 40;
const TOKENS = 96;
/** Work of a submission: what a card of 20 TFLOP/s does in 100 ms. The null backend has no speed of its own to measure. */
const WORK = 2e12;
/** Weights that share a buffer, at most. */
const MOST_SHARED = 64;
/** Dispatches of a submission where Dawn is measured alone: a step's. */
const PER_SUBMISSION = 400;
/** Limits for a dispatch in microseconds, in a step and in a decoding pass. */
const STEP_LIMIT = 4;
const TOKEN_LIMIT = 6;

/** A device of Dawn's null backend that claims a GPU vendor. */
export async function nullGpu(): Promise<Gpu> {
  const { adapter } = await openNullAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups" as GPUFeatureName] });
  const info = { vendor: "nvidia", architecture: "null", subgroupMinSize: 32, subgroupMaxSize: 32 } as GPUAdapterInfo;
  const profile = profileOf(factsOf({ info, features: adapter.features }, true));
  const features = { f16: true, subgroups: true, subgroupId: true, timestamps: false };
  const gpu = new Gpu(device, { features, profile: { ...profile, name: "Dawn's null backend" } });
  Object.assign(gpu.pace, { budget: WORK, learn: () => {} });
  shareWeights(gpu);
  return gpu;
}

/**
 * Lets the frozen weights of one shape be ranges of one buffer, each 256 bytes after the other. The null backend has 512 MiB, which 0.5B's
 * layers exceed, and reads no weights. A range of its own gives each weight its own bind groups, as its own buffer does.
 */
function shareWeights(gpu: Gpu): void {
  const { storage } = gpu;
  const hold = storage.hold.bind(storage);
  const shared = new Map<string, { all: Tensor; next: number }>();
  storage.hold = (shape, dtype, label) => {
    const key = `${dtype} ${shape}`;
    let of = shared.get(key);
    if (!of) {
      const [rows, ...rest] = shape;
      const further = Math.ceil((256 * MOST_SHARED) / byteLength(sizeOf(rest), dtype));
      shared.set(key, (of = { all: hold([rows + further, ...rest], dtype, label), next: 0 }));
    }
    if (of.next > MOST_SHARED) throw new Error(`Cannot measure more than ${MOST_SHARED} weights of shape [${shape}]`);
    const bytes = byteLength(sizeOf(shape), dtype);
    return { label, shape, dtype, buffer: of.all.buffer, offset: 256 * of.next++, bytes, block: null };
  };
}

/** A dispatch as WebGPU gets it. */
interface Encoded {
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  offsets: [number] | null;
  size: readonly [number, number, number];
}

/** The dispatches of `run`, recorded or repeated. Their buffers are not destroyed, so that they can be encoded again. */
async function dispatchesOf(gpu: Gpu, run: () => Promise<unknown>): Promise<Encoded[]> {
  const prototype = Recorder.prototype as unknown as { emit(command: Dispatch): void };
  const { emit } = prototype;
  const buffers: GPUBuffer = Object.getPrototypeOf(gpu.arena.buffer);
  const { destroy } = buffers;
  const all: Encoded[] = [];
  buffers.destroy = () => undefined;
  prototype.emit = function (command) {
    emit.call(this, command);
    const { program, group, params, size } = command;
    all.push({ pipeline: program.pipeline, group, size, offsets: params && [...gpu.arena.place(params)] });
  };
  try {
    await run();
  } finally {
    prototype.emit = emit;
    buffers.destroy = destroy;
  }
  return all;
}

/** Encodes and submits dispatches without Qwench: what Dawn and its binding to Node take by themselves. */
function bare(device: GPUDevice, dispatches: readonly Encoded[], perSubmission: number): void {
  for (let at = 0; at < dispatches.length; at += perSubmission) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    let last: GPUComputePipeline | null = null;
    for (const { pipeline, group, offsets, size } of dispatches.slice(at, at + perSubmission)) {
      if (pipeline !== last) pass.setPipeline((last = pipeline));
      if (offsets) pass.setBindGroup(0, group, offsets);
      else pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(size[0], size[1], size[2]);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  }
}

/** Milliseconds of this process's processor time. */
async function cpuOf(run: () => unknown): Promise<number> {
  const start = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

interface Cost {
  /** of one run */
  dispatches: number;
  /** CPU milliseconds of one run; the least and the most over rounds */
  ms: number;
  slowest: number;
  /** CPU milliseconds that Dawn takes of it */
  dawn: number;
}

/** Processor time of `run`, which does something `times` times, and of its dispatches alone, by turns. */
async function measure(gpu: Gpu, run: () => Promise<unknown>, times: number, rounds: number): Promise<Cost> {
  await run(); // compiles
  const all = await dispatchesOf(gpu, run);
  const dispatches = all.length / times;
  const [cpu, dawn]: number[][] = [[], []];
  for (let i = 0; i < rounds; i++) {
    cpu.push((await cpuOf(run)) / times);
    dawn.push((await cpuOf(() => bare(gpu.device, all, PER_SUBMISSION))) / times);
    await gpu.settle();
  }
  return { dispatches, ms: Math.min(...cpu), slowest: Math.max(...cpu), dawn: Math.min(...dawn) };
}

/** Microseconds per dispatch in a LoRA step of Qwen2.5-0.5B's shapes, and in a decoded token. */
export async function benchHost(rounds: number, layers?: number): Promise<BenchRow[]> {
  const gpu = await nullGpu();
  const config = benchModel(layers, VOCAB);
  const { model, optimizer } = trainee(gpu, config);
  const micro = microBatch(config.vocab_size, 4, 256);
  const options = {
    learning_rate: 1e-4,
    max_grad_norm: 1,
    label_smoothing_factor: 0,
    neftune_noise_alpha: null,
    seed: 1,
  };
  const steps = async () => {
    for (let step = 0; step < STEPS; step++)
      sftStep(gpu.recorder(), model, optimizer, [micro], { ...options, step }).catch(() => {}); // the null backend computes no numbers, so errors about them are expected
    await gpu.settle();
  };
  const prompt_ids = Array.from({ length: 16 }, (_, i) => i);
  const requests = Array.from({ length: 8 }, (_, sequence) => ({ prompt_ids, sequence }));
  const sampling = { ...GREEDY, eos_token_ids: [], seed: 0, slots: 8, max_new_tokens: TOKENS };
  const tokens = () => generate(model, requests, sampling);
  const rowsOf = (what: string, most: number, { dispatches, ms, slowest, dawn }: Cost): BenchRow[] => {
    const shape = `${config.num_hidden_layers} layers of 896, ${Math.round(dispatches)} dispatches`;
    const row = (name: string, time: number, spread: number, limit?: number) => ({
      ...about(gpu),
      what: name,
      shape,
      dtype: "bf16",
      median_ms: time,
      cpu_ms: time,
      spread,
      gflops: null,
      ratio: (1000 * time) / dispatches,
      ...(limit !== undefined && { most: limit, met: (1000 * time) / dispatches <= limit }),
      against: "µs a dispatch",
    });
    const spread = (slowest - ms) / ms;
    return [
      row(`${what}, Qwench's JavaScript`, ms - dawn, spread, most),
      row(`${what}, Dawn alone`, dawn, spread),
      row(`${what}, both`, ms, spread),
    ];
  };
  return [
    ...rowsOf("host: SFT step", STEP_LIMIT, await measure(gpu, steps, STEPS, rounds)),
    ...rowsOf("host: decoded token of 8 sequences", TOKEN_LIMIT, await measure(gpu, tokens, TOKENS, rounds)),
  ];
}
