import type { NumberedRow } from "../data/rows.ts";
import type { Folder } from "../io/storage.ts";
import type { Method, Recipe } from "../recipe/recipe.ts";
import type { NamedReward } from "../rewards/reward.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { readBuffer } from "../train/grpo/buffer.ts";
import type { Environment } from "../train/grpo/tools.ts";
import type { TrainOptions } from "../train/method.ts";
import { type DpoEvent, dpo, type PreparedDpo, prepareDpo } from "./dpo.ts";
import { type GrpoEvent, grpo, type PreparedGrpo, prepareGrpo } from "./grpo.ts";
import type { ImageOpener } from "./images.ts";
import { loadTrainee, type RunSources } from "./open.ts";
import { type PreparedSft, prepareSft, type SftEvent, sft } from "./sft.ts";

/** Where any run's inputs come from, whatever its method. */
export interface TrainSources extends RunSources {
  train: AsyncIterable<NumberedRow> | Iterable<NumberedRow>;
  eval?: AsyncIterable<NumberedRow> | Iterable<NumberedRow> | null;
  /** opens the images of rows, from `imagesFrom`; absent: rows may have none */
  images?: ImageOpener | null;
  /** what scores completions, if the method samples any */
  rewards?: readonly NamedReward[];
  /** functions that the model may call, if the method samples completions */
  environment?: Environment | null;
}

/** Options of a run of any method. */
export interface TrainingOptions extends TrainOptions {
  /** progress within a long step */
  onProgress?: (what: string, done: number, total: number) => void;
}

interface PreparedOf {
  sft: PreparedSft;
  grpo: PreparedGrpo;
  dpo: PreparedDpo;
}

/** Events of a run, by method. */
export interface EventOf {
  sft: SftEvent;
  grpo: GrpoEvent;
  dpo: DpoEvent;
}

/** Events of a run of any method. */
export type TrainingEvent = EventOf[Method];

/** A run that is ready to load, with its method, its recipe, and everything read and checked. */
export type Training<M extends Method = Method> = M extends Method
  ? { method: M; recipe: Recipe<M>; prepared: PreparedOf[M] }
  : never;

/** What a method provides for a session. A new method is a new entry. */
interface MethodSession<M extends Method> {
  prepare(recipe: Recipe<M>, sources: TrainSources): Promise<PreparedOf[M]>;
  train(trainee: Trainee, training: Training<M>, options: TrainingOptions): AsyncGenerator<EventOf[M]>;
  /** throws if the method's files in a checkpoint are incomplete */
  verify?(checkpoint: Folder): Promise<unknown>;
}

const METHODS: { [M in Method]: MethodSession<M> } = {
  sft: {
    prepare: prepareSft,
    train: (trainee, { prepared, recipe }, options) => sft(trainee, prepared.data, recipe, options),
  },
  grpo: {
    prepare: (recipe, { rewards = [], ...sources }) => prepareGrpo(recipe, { ...sources, rewards }),
    train: (trainee, { prepared, recipe }, options) => grpo(trainee, prepared.data, recipe, options),
    verify: readBuffer,
  },
  dpo: {
    prepare: prepareDpo,
    train: (trainee, { prepared, recipe }, options) => dpo(trainee, prepared.data, recipe, options),
  },
};

/**
 * Reads and checks everything that a run needs except the weights, and forecasts its memory. Allocates nothing on the GPU.
 *
 * @throws if the recipe, checkpoint, adapter or rows are invalid
 */
export async function prepareTraining<M extends Method>(
  method: M,
  recipe: Recipe<M>,
  sources: TrainSources,
): Promise<Training<M>> {
  const prepared = await METHODS[method].prepare(recipe, sources);
  return { method, recipe, prepared } as Training<M>;
}

/** Loads the weights of a prepared run and creates or loads its adapter. @param base the base model's name in the adapter */
export function loadTraining(
  { recipe, prepared }: Training,
  sources: Pick<RunSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}

/** Trains from the checkpoint `options.resume`, if given, to the end. @throws as the loop of src/train/loop.ts */
export function runTraining<M extends Method>(
  training: Training<M>,
  trainee: Trainee,
  options: TrainingOptions,
): AsyncGenerator<EventOf[M]> {
  return METHODS[training.method as M].train(trainee, training, options);
}

/** Throws if a checkpoint is incomplete for its method. */
export function verifyOf(method: Method): (checkpoint: Folder) => Promise<unknown> {
  return METHODS[method].verify ?? (async () => {});
}
