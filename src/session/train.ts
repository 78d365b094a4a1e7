import type { NumberedRow } from "../data/rows.ts";
import type { Folder } from "../io/storage.ts";
import type { Method, Recipe } from "../recipe/recipe.ts";
import type { NamedReward } from "../rewards/reward.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { readBuffer } from "../train/grpo/buffer.ts";
import type { TrainOptions } from "../train/method.ts";
import { type DpoEvent, dpo, type PreparedDpo, prepareDpo } from "./dpo.ts";
import { type GrpoEvent, grpo, type PreparedGrpo, prepareGrpo } from "./grpo.ts";
import { loadTrainee, type RunSources } from "./open.ts";
import { type PreparedSft, prepareSft, type SftEvent, sft } from "./sft.ts";

/** Where the inputs of a run of any method come from. */
export interface TrainSources extends RunSources {
  train: AsyncIterable<NumberedRow> | Iterable<NumberedRow>;
  eval?: AsyncIterable<NumberedRow> | Iterable<NumberedRow> | null;
  /** what judges completions, where the method draws any */
  rewards?: readonly NamedReward[];
}

/** How a run of any method goes. */
export interface TrainingOptions extends TrainOptions {
  /** what is done within a step, where it takes long */
  onProgress?: (what: string, done: number, total: number) => void;
}

interface PreparedOf {
  sft: PreparedSft;
  grpo: PreparedGrpo;
  dpo: PreparedDpo;
}

interface EventOf {
  sft: SftEvent;
  grpo: GrpoEvent;
  dpo: DpoEvent;
}

/** What a run of any method tells. */
export type TrainingEvent = EventOf[Method];

/** A run that is ready to load: its method, its recipe, and everything that was read and checked. */
export type Training<M extends Method = Method> = M extends Method
  ? { method: M; recipe: Recipe<M>; prepared: PreparedOf[M] }
  : never;

/** What a method brings to a session. A further one is a further entry. */
interface MethodSession<M extends Method> {
  prepare(recipe: Recipe<M>, sources: TrainSources): Promise<PreparedOf[M]>;
  train(trainee: Trainee, training: Training<M>, options: TrainingOptions): AsyncGenerator<EventOf[M]>;
  /** throws where what it keeps in a checkpoint is not whole */
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
 * @throws what is wrong with the recipe, the checkpoint, the adapter or the rows, before any time is spent
 */
export async function prepareTraining<M extends Method>(
  method: M,
  recipe: Recipe<M>,
  sources: TrainSources,
): Promise<Training<M>> {
  const prepared = await METHODS[method].prepare(recipe, sources);
  return { method, recipe, prepared } as Training<M>;
}

/** Loads the weights of a prepared run and starts or takes over its adapter. @param base what the adapter names its base */
export function loadTraining(
  { recipe, prepared }: Training,
  sources: Pick<RunSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}

/** Trains from where `options.resume` stands to the end. @throws as the loop of src/train/loop.ts */
export function runTraining<M extends Method>(
  training: Training<M>,
  trainee: Trainee,
  options: TrainingOptions,
): AsyncGenerator<EventOf[M]> {
  return METHODS[training.method as M].train(trainee, training, options);
}

/** Throws where a checkpoint is not whole for its method. */
export function verifyOf(method: Method): (checkpoint: Folder) => Promise<unknown> {
  return METHODS[method].verify ?? (async () => {});
}
