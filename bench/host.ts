import { Gpu } from "../src/gpu/device.ts";
import { factsOf, profileOf } from "../src/gpu/profile.ts";
import { Recorder } from "../src/gpu/recorder.ts";
import { generate } from "../src/model/generate/generate.ts";
import { openNullAdapter } from "../src/platform/node/node.ts";
import { sftStep } from "../src/train/sft/step.ts";
import { GREEDY } from "./generate.ts";
import { microBatch, trainee } from "./models.ts";
import { about, type BenchRow } from "./rows.ts";
import { benchModel } from "./sizes.ts";

// The processor time of a dispatch, in JavaScript and in Dawn. Dawn's null backend computes nothing else.

const LAYERS = 6;
/** Rows of the embedding. Their number does not change the dispatches, and the null backend keeps the table in memory. */
const VOCAB = 4096;
const STEPS = 12;
const TOKENS = 96;
/** Limits for a dispatch in microseconds, in a step and in a decoding pass. */
const STEP_LIMIT = 4;
const TOKEN_LIMIT = 6;

/** A device of Dawn's null backend that claims a GPU vendor. */
async function nullGpu(): Promise<Gpu> {
  const { adapter } = await openNullAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups" as GPUFeatureName] });
  const info = { vendor: "nvidia", architecture: "null", subgroupMinSize: 32, subgroupMaxSize: 32 } as GPUAdapterInfo;
  const profile = profileOf(factsOf({ info, features: adapter.features }, true));
  const features = { f16: true, subgroups: true, subgroupId: true, timestamps: false };
  return new Gpu(device, { features, profile: { ...profile, name: "Dawn's null backend" } });
}

/** Counts dispatches during `run`, recorded or repeated. */
async function dispatchesOf(run: () => Promise<unknown>): Promise<number> {
  const prototype = Recorder.prototype as unknown as { emit(command: unknown): void };
  const { emit } = prototype;
  let count = 0;
  prototype.emit = function (command) {
    count++;
    emit.call(this, command);
  };
  try {
    await run();
  } finally {
    prototype.emit = emit;
  }
  return count;
}

/** CPU milliseconds of this process per run, over `times` runs, and the dispatches of one run. */
async function measure(run: () => Promise<unknown>, times: number, rounds: number) {
  await run(); // compiles
  const dispatches = (await dispatchesOf(run)) / times;
  const cpu: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(start);
    cpu.push((user + system) / 1000 / times);
  }
  return { dispatches, ms: Math.min(...cpu), slowest: Math.max(...cpu) };
}

/** Microseconds per dispatch in a LoRA step of Qwen2.5-0.5B's shapes, and in a decoded token. */
export async function benchHost(rounds: number): Promise<BenchRow[]> {
  const gpu = await nullGpu();
  const config = benchModel(LAYERS, VOCAB);
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
  const row = (what: string, most: number, { dispatches, ms, slowest }: Awaited<ReturnType<typeof measure>>) => ({
    ...about(gpu),
    what,
    shape: `${LAYERS} layers of 896, ${Math.round(dispatches)} dispatches`,
    dtype: "bf16",
    median_ms: ms,
    cpu_ms: ms,
    spread: (slowest - ms) / ms,
    gflops: null,
    ratio: (1000 * ms) / dispatches,
    most,
    met: (1000 * ms) / dispatches <= most,
    against: "µs a dispatch",
  });
  return [
    row("host: SFT step", STEP_LIMIT, await measure(steps, STEPS, rounds)),
    row("host: decoded token of 8 sequences", TOKEN_LIMIT, await measure(tokens, TOKENS, rounds)),
  ];
}
