import type { Gpu } from "../gpu/device.ts";
import { fakeGpu } from "../gpu/fake-device.ts";
import type { Kernel } from "../gpu/program.ts";
import { buildModel } from "../model/build.ts";
import { type ModelConfig, parseModelConfig } from "../model/config.ts";
import { storedDType } from "../model/files/load.ts";
import { generate } from "../model/generate/generate.ts";
import type { Transformer } from "../model/transformer.ts";
import { parseRecipe, type SftRecipe } from "../recipe/recipe.ts";
import {
  type DeviceRates,
  fitRate,
  type MeasuredPass,
  type PassRate,
  type WidthRates,
} from "../train/forecast/rates.ts";
import { worstBatch } from "../train/forecast/sft.ts";
import { layersOfPass, type Pass, type WorkModel, workOfPass } from "../train/forecast/work.ts";
import { Optimizer } from "../train/optimizer.ts";
import { sftStep } from "../train/sft/step.ts";
import { loraOf } from "./open.ts";
import { precisionOf } from "./precision.ts";

/** Two models to measure, whose weights are zeros: the embedded model, and a block of Qwen2.5-0.5B with a part of its vocabulary. */
const MODELS = {
  narrow: { hidden: 128, inner: 256, layers: 3, heads: 4, vocab: 630, tokens: [64, 512, 1536], slots: [8, 48] },
  wide: { hidden: 896, inner: 4864, layers: 1, heads: 14, vocab: 4096, tokens: [48, 192, 768], slots: [4, 24] },
} as const;

/** The widths that a GPU is measured at. */
export const WIDTHS = Object.values(MODELS).map(({ hidden: hidden_size }) => ({ hidden_size }));

/** Widths between which a model is nearer to the wide one. */
const WIDE_FROM = 320;
/** Milliseconds that the sizes of one kind of pass may take; the first two sizes are always measured. */
const BUDGET_MS = 500;
/** Repetitions of a pass within that time, at least one: the fastest counts, because other work can only delay it. */
const TIMES = 3;
/** Tokens that one block decodes, and blocks: the first has the prompts' pass before it and does not count. */
const BLOCK = 8;
const BLOCKS = 3;
/** Seconds to compile a kernel, if all of them were compiled before. */
const USUAL_COMPILE = 0.05;

/** The model to measure for a model of this width. On a software adapter, the kernels of a wide one take minutes to compile. */
export function widthOf(
  gpu: Pick<Gpu, "profile">,
  { hidden_size }: Pick<ModelConfig, "hidden_size">,
): keyof typeof MODELS {
  return hidden_size < WIDE_FROM || gpu.profile.kind !== "gpu" ? "narrow" : "wide";
}

/** Whether an adapter was measured at the width that a model needs. */
export function knowsWidth(rates: DeviceRates, config: Pick<ModelConfig, "hidden_size">): boolean {
  const { hidden: needed } = MODELS[config.hidden_size < WIDE_FROM ? "narrow" : "wide"];
  return rates.some(({ hidden, everyWidth }) => everyWidth || hidden === needed);
}

/** How a measurement is stopped and followed. */
export interface MeasureOptions {
  signal?: AbortSignal;
  /** milliseconds for compiling kernels, after which the measurement is given up; default: no limit */
  compileWithin?: number;
  onProgress?: (done: number, total: number, what: "compiling kernels" | "measuring") => void;
}

/**
 * Measures an adapter in about 3 seconds, for time forecasts: steps, forward passes and decoding passes of a small model
 * without weights. Its kernels are compiled first, several at once, which also tells how long one takes to compile. A run of the
 * embedded model needs every one of them.
 *
 * @returns null if compiling took longer than it may
 * @throws {AbortError} the signal was aborted
 */
export async function measureRates(
  gpu: Gpu,
  width: keyof typeof MODELS,
  { signal, compileWithin, onProgress }: MeasureOptions = {},
): Promise<WidthRates | null> {
  const { hidden, tokens, slots } = MODELS[width];
  const probe = new Probe(gpu, width);
  try {
    const kernel = await compiled(gpu, await kernelsOf(gpu, width), { signal, compileWithin, onProgress });
    if (kernel === null) return null;
    const kinds = [
      { sizes: tokens, pass: (size: number) => probe.train(size) },
      { sizes: tokens, pass: (size: number) => probe.forward(size) },
      { sizes: slots, pass: (size: number) => probe.decode(size) },
    ];
    const rates: PassRate[] = [];
    for (const { sizes, pass } of kinds) {
      signal?.throwIfAborted();
      onProgress?.(rates.length, kinds.length, "measuring");
      await pass(sizes[0]); // allocates
      rates.push(fitRate(await timed(sizes, pass, signal)));
    }
    const [train, forward, decode] = rates;
    return { hidden, train, forward, decode, kernel, everyWidth: gpu.profile.kind !== "gpu" };
  } finally {
    await gpu.settle().catch(() => {});
    await gpu.clear();
  }
}

/** The kernels of all passes, found on a device that computes nothing. */
async function kernelsOf(gpu: Gpu, width: keyof typeof MODELS): Promise<Kernel[]> {
  const { tokens, slots } = MODELS[width];
  const fake = fakeGpu(gpu);
  const probe = new Probe(fake, width);
  for (const size of tokens) {
    await probe.train(size);
    await probe.forward(size);
  }
  for (const size of slots) await probe.decode(size);
  return fake.programs.kernels;
}

/** Compiles kernels. @returns seconds for one; null: it took longer than it may */
async function compiled(
  gpu: Gpu,
  kernels: readonly Kernel[],
  { signal, compileWithin, onProgress }: MeasureOptions,
): Promise<number | null> {
  const missing = kernels.filter((kernel) => !gpu.programs.has(kernel)).length;
  const late = new AbortController();
  const timer = compileWithin === undefined ? undefined : setTimeout(() => late.abort(), compileWithin);
  const began = performance.now();
  try {
    const ends = AbortSignal.any([late.signal, ...(signal ? [signal] : [])]);
    await gpu.prepare(kernels, ends, (done, total) => onProgress?.(done, total, "compiling kernels"));
  } finally {
    clearTimeout(timer);
  }
  signal?.throwIfAborted();
  if (late.signal.aborted) return null;
  return missing > 0 ? (performance.now() - began) / 1000 / missing : USUAL_COMPILE;
}

/** The fastest of some repetitions for each size, within the budget. */
async function timed(
  sizes: readonly number[],
  pass: (size: number) => Promise<MeasuredPass>,
  signal: AbortSignal | undefined,
): Promise<MeasuredPass[]> {
  const end = performance.now() + BUDGET_MS;
  const found: MeasuredPass[] = [];
  for (const size of sizes) {
    if (found.length >= 2 && performance.now() > end) break;
    let best: MeasuredPass | null = null;
    for (let i = 0; i < TIMES && (best === null || performance.now() < end); i++) {
      signal?.throwIfAborted();
      const now = await pass(size);
      if (!best || now.seconds < best.seconds) best = now;
    }
    found.push(best!);
  }
  return found;
}

/** A model without weights, and passes over it. */
class Probe {
  private readonly gpu: Gpu;
  private readonly model: Transformer;
  private readonly optimizer: Optimizer;
  private readonly work: WorkModel;

  constructor(gpu: Gpu, width: keyof typeof MODELS) {
    const { hidden, inner, layers, heads, vocab } = MODELS[width];
    const shape = {
      model_type: "qwen2",
      hidden_size: hidden,
      intermediate_size: inner,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: 2,
      vocab_size: vocab,
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-6,
      rope_theta: 10_000,
      tie_word_embeddings: true,
    };
    const config = parseModelConfig(shape, "the model that measures this device");
    const recipe = parseRecipe({ lora_dropout: 0 }, "sft").recipe as SftRecipe;
    const lora = loraOf(config, recipe);
    const dtypeOf = () => storedDType(gpu, "BF16", "auto");
    gpu.precision = precisionOf(recipe.matmul_precision, gpu, dtypeOf());
    gpu.activations = "f32";
    const { model } = buildModel(gpu, config, { lora }, dtypeOf);
    this.gpu = gpu;
    this.model = model;
    this.optimizer = new Optimizer(gpu, model.store!, recipe);
    this.work = { config, lora_r: lora.r, whole: false, gradient_checkpointing: true };
  }

  /** A training step over sequences of up to 128 tokens. */
  async train(tokens: number): Promise<MeasuredPass> {
    const length = Math.min(128, tokens);
    const batch = worstBatch(tokens / length, length);
    const options = {
      step: 0,
      learning_rate: 0,
      max_grad_norm: 1,
      label_smoothing_factor: 0,
      neftune_noise_alpha: null,
      seed: 0,
    };
    const run = () => sftStep(this.gpu.recorder(), this.model, this.optimizer, batch, options);
    return this.took(run, { kind: "train", tokens, context: length / 2, rows: tokens });
  }

  async forward(tokens: number): Promise<MeasuredPass> {
    const length = Math.min(128, tokens);
    const [{ batch, targets }] = worstBatch(tokens / length, length);
    const run = async () => {
      const record = this.gpu.recorder();
      const rows = record.scope(() => record.read(this.model.run(record, batch, targets, {}, null)!.logp));
      record.submit();
      await rows;
    };
    return this.took(run, { kind: "forward", tokens, context: length / 2, rows: tokens });
  }

  /** The passes of decoding's blocks after the first, each of which draws a token of every slot. */
  async decode(slots: number): Promise<MeasuredPass> {
    const prompt = 32;
    const blocks: number[] = [];
    let drawn = 0;
    await generate(
      this.model,
      Array.from({ length: slots }, (_, sequence) => ({ prompt_ids: new Array<number>(prompt).fill(1), sequence })),
      {
        max_new_tokens: BLOCKS * BLOCK,
        eos_token_ids: [],
        seed: 0,
        slots,
        block: BLOCK,
        temperature: 1,
        top_k: 0,
        top_p: 1,
        min_p: 0,
        repetition_penalty: 1,
        onTokens: () => {
          if (++drawn % slots === 0) blocks.push(performance.now());
        },
      },
    );
    const seconds = (blocks[blocks.length - 1] - blocks[0]) / 1000 / (BLOCK * (blocks.length - 1));
    const context = prompt + ((BLOCKS + 1) / 2) * BLOCK;
    return this.measured({ kind: "decode", tokens: slots, context, rows: slots }, seconds);
  }

  private async took(run: () => Promise<unknown>, pass: Omit<Pass, "count">): Promise<MeasuredPass> {
    const began = performance.now();
    await run();
    return this.measured(pass, (performance.now() - began) / 1000);
  }

  private measured(pass: Omit<Pass, "count">, seconds: number): MeasuredPass {
    return { layers: layersOfPass(this.work, pass), operations: workOfPass(this.work, pass), seconds };
  }
}
