import type { Kernel } from "../../gpu/program.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { MicroBatch } from "../sft/batches.ts";
import { type SftLossType, sftStep } from "../sft/step.ts";
import {
  blankImages,
  blankPatches,
  type FakeRun,
  type ForecastModel,
  fakeRun,
  forecastFrom,
  type MemoryForecast,
  shallow,
  withAdvice,
} from "./memory.ts";

export interface SftForecastInput extends ForecastModel {
  /** the run's steps, with the largest: the pool keeps a step's buffers even if they do not fit the next step */
  steps: readonly (readonly MicroBatch[])[];
  loss_type?: SftLossType;
  /** the largest batch of an evaluation, or null without one */
  evaluation?: MicroBatch | null;
}

/**
 * Forecasts a training run's memory before anything is allocated, by recording its largest step on a device that only
 * counts. Excludes host-side buffers (tokenised rows, the driver's staging memory).
 */
export function forecastSft(input: SftForecastInput): MemoryForecast {
  const tokens = Math.max(...input.steps.flat().map(({ batch }) => batch.input_ids.length));
  return forecastFrom(recordSft(input), input.config, tokens);
}

/** The kernels that a training run compiles in its first steps. */
export function kernelsOfSft(input: SftForecastInput): Kernel[] {
  return recordSft({ ...input, config: shallow(input.config) }).gpu.programs.kernels;
}

const NOTHING = {
  step: 0,
  learning_rate: 0,
  max_grad_norm: 1,
  label_smoothing_factor: 0,
  neftune_noise_alpha: null,
  seed: 0,
};

function recordSft(input: SftForecastInput): FakeRun {
  const run = fakeRun(input);
  const { model, optimizer, record } = run;
  const { steps, evaluation } = input;
  try {
    const options = { ...NOTHING, loss_type: input.loss_type };
    for (const micro of steps.map((each) => each.map((one) => blank(one, model))))
      sftStep(record, model, optimizer, micro, options).catch(() => {}); // its numbers come from nowhere
    if (evaluation) record.scope(() => model.run(record, blank(evaluation, model).batch, evaluation.targets, {}, null));
  } catch (error) {
    throw withAdvice(error, "max_length");
  }
  return run;
}

/** The same batch with features or patches of its images, of which only the number counts. */
function blank({ batch, targets }: MicroBatch, model: Transformer): MicroBatch {
  if (!batch.row_images) return { batch, targets };
  const { tower } = model;
  const patches = () => blankPatches(tower!, batch.row_images!.map(({ grid }) => grid)); // biome-ignore format: a line
  return { batch: { ...batch, images: tower?.trained ? patches() : blankImages(model, batch)! }, targets };
}

/** Micro-batches of `sequences` rows of `length` tokens, all labelled: the worst case of a recipe. */
export function worstBatch(sequences: number, length: number): MicroBatch[] {
  const tokens = sequences * length;
  const position_ids = Int32Array.from({ length: tokens }, (_, i) => i % length);
  const cu_seqlens = Int32Array.from({ length: sequences + 1 }, (_, i) => i * length);
  const rows = Uint32Array.from({ length: tokens }, (_, i) => i).filter((i) => i % length !== length - 1);
  const batch = { input_ids: new Int32Array(tokens), position_ids, cu_seqlens, labels: new Int32Array(tokens) };
  return [{ batch, targets: { rows, tokens: new Uint32Array(rows.length) } }];
}
