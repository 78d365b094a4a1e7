import { BusyError, RecipeError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder, LockableFolder } from "../../io/storage.ts";
import { type GrpoRecipe, type Method, parseRecipe, type Recipe, type SftRecipe } from "../../recipe/recipe.ts";
import { formatRecipeYaml } from "../../recipe/yaml.ts";
import type { NamedReward, RewardFunction } from "../../rewards/reward.ts";
import { checkpointNames } from "../../train/checkpoint.ts";
import { checkForecast, type MemoryForecast } from "../../train/forecast/memory.ts";
import type { Environment } from "../../train/grpo/tools.ts";
import type { LogRecord } from "../../train/metrics.ts";
import { type CompletionsLog, openCompletionsLog } from "../completions-log.ts";
import { type OpenedRewards, openRewards, type RewardPlatform } from "../rewards.ts";
import { beginRunFile, endRunFile, type RunFacts } from "../run-file.ts";
import { resumeFrom } from "../run-folder.ts";
import { openRunLog, type RunLog } from "../run-log.ts";
import { type EventOf, loadTraining, prepareTraining, runTraining, verifyOf } from "../train.ts";
import { tune } from "../tune.ts";
import { type CallHost, type CallProgress, currentHost } from "./host.ts";
import { type DataInput, dataName, inputName, type ModelInput, openModelInput, openRowsInput } from "./inputs.ts";
import { Narrator, stoppable } from "./narrator.ts";
import { type Given, openSources } from "./sources.ts";

/** What to train. */
export interface TrainCall<M extends Method = Method> {
  /** `sft`, `grpo` or `dpo` */
  method: M;
  /** the base model; default: the recipe's `model_name_or_path` */
  model?: ModelInput;
  /** rows to train on; default: the recipe's `dataset_name` or `datasets` */
  data?: DataInput;
  /** rows to evaluate on, when `eval_strategy` says so; default: as the recipe says */
  eval?: DataInput;
  /** fields that differ from the method's defaults; see docs/options.md */
  recipe?: Partial<Recipe<M>>;
  /** folder for checkpoints, logs and the result: a path, a name in the browser's storage, or an open folder; default: the recipe's `output_dir` */
  output?: string | Folder;
  /** an adapter to continue from; default: the recipe's `adapter_name_or_path` */
  adapter?: ModelInput;
  /** true: continue from the newest checkpoint in `output`; a checkpoint's path or folder: from that one; default: the recipe's `resume_from_checkpoint` */
  resume?: boolean | string | Folder;
  /** GRPO: own reward functions. The recipe's `reward_funcs` may name them beside registered ones; absent, these are all */
  rewards?: readonly (RewardFunction | NamedReward)[];
  /** GRPO: key of the recipe's judge, which is sent to its `judge_url` only and never stored; default: in Node and Deno, `QWENCH_JUDGE_KEY` */
  judge_key?: string;
  /** GRPO: functions that the model may call; default: the recipe's `environment` */
  environment?: Environment;
  /** replaces the tokenizer's chat template */
  chat_template?: string;
  /** an open device, whose kernels are used and whose tensors stay; default: one that all calls share */
  gpu?: Gpu;
  /** stops at the next step boundary: a checkpoint is saved, and the call throws `AbortError` */
  signal?: AbortSignal;
}

/** What a run will do, before its weights are loaded. */
export interface TrainPlan {
  type: "plan";
  method: Method;
  /** the adapter's name */
  device: string;
  /** GPU memory in bytes */
  forecast: MemoryForecast;
  /** bytes that the run may use; null: unknown */
  available: number | null;
  /** rows or prompts */
  rows: number;
  max_steps: number;
  /** the step of the checkpoint that the run continues from, or 0 */
  global_step: number;
}

/** Events of a call of `train`. A note tells how an input was understood. */
export type TrainCallEvent<M extends Method = Method> = CallProgress | TrainPlan | EventOf[M];

/**
 * Trains by one call, from inputs to the result in `output`: opens the GPU, reads and checks everything, refuses what does not
 * fit, loads the weights, trains, and writes checkpoints, `metrics.jsonl`, completions and a PEFT adapter (or the whole model).
 *
 * Leaving the loop early stops the run at the next step boundary, with a checkpoint.
 *
 * @throws {RecipeError} a field is unknown or out of bounds; a model or rows are missing
 * @throws {NotFoundError} there is no such model, file or checkpoint
 * @throws {DataError} a row cannot be used
 * @throws {MemoryError} the run does not fit
 * @throws {QwenchError} `output` holds another run
 * @throws {BusyError} another process trains in `output`
 * @throws {AbortError} `signal` fired; a checkpoint holds everything
 */
export function train<M extends Method>(call: TrainCall<M>): AsyncGenerator<TrainCallEvent<M>, void> {
  return stoppable(call.signal, (signal) => start(currentHost(), call, signal));
}

async function* start<M extends Method>(
  host: CallHost,
  call: TrainCall<M>,
  signal: AbortSignal,
): AsyncGenerator<TrainCallEvent<M>> {
  const { recipe, notes } = recipeOf(host, call);
  for (const text of notes) yield noteOf<M>(text);
  const output = folderOf(host, call.output ?? recipe.output_dir);
  const release = await claim(output);
  try {
    yield* trainThere(host, call, recipe, output, signal);
  } finally {
    await release();
  }
}

const noteOf = <M extends Method>(text: string) => ({ type: "note", text }) as EventOf[M];

/** The complete recipe of a call. */
function recipeOf<M extends Method>(host: CallHost, call: TrainCall<M>): { recipe: Any<M>; notes: string[] } {
  const { method, model, data, rewards } = call;
  const given: Record<string, unknown> = { ...(call.recipe as Record<string, unknown> | undefined) };
  if (model !== undefined) given.model_name_or_path = inputName(model);
  const name = data === undefined ? undefined : dataName(data);
  if (data !== undefined) delete given.datasets;
  if (name) given.dataset_name = name;
  else if (data !== undefined) delete given.dataset_name;
  const evaluated = call.eval === undefined ? undefined : dataName(call.eval);
  if (evaluated) given.eval_dataset_name = evaluated;
  if (call.adapter !== undefined) given.adapter_name_or_path = inputName(call.adapter);
  if (rewards && method === "grpo" && given.reward_funcs === undefined)
    given.reward_funcs = rewards.map(namedReward).map((one) => one.name);
  const nothing = model === undefined && data === undefined;
  const named = ["model_name_or_path", "dataset_name", "datasets"].some((field) => given[field] !== undefined);
  const embedded = nothing && !named ? host.embedded(method, given) : null;
  const parsed = parseRecipe({ ...embedded, ...given }, method);
  const note = "no model and no data given: training the embedded model on its own problems";
  return { recipe: parsed.recipe as Any<M>, notes: [...(embedded ? [note] : []), ...parsed.notes] };
}

/** A recipe, readable whatever its method. */
type Any<M extends Method> = Recipe<M> & (SftRecipe | GrpoRecipe);

function folderOf(host: CallHost, output: string | Folder): Folder {
  return typeof output === "string" ? host.folder(output) : output;
}

/** Claims a run's folder, where folders have locks. @returns what gives it back */
async function claim(output: Folder): Promise<() => Promise<void>> {
  if (!("lock" in output)) return async () => {};
  const lock = await (output as LockableFolder).lock("qwench", "train");
  if ("release" in lock) return () => lock.release();
  const { id, host } = lock.owner;
  throw new BusyError(
    `Cannot train in ${output.path}: process ${id} on ${host} is already working there. Wait until it ends, or name another output`,
  );
}

async function* trainThere<M extends Method>(
  host: CallHost,
  call: TrainCall<M>,
  recipe: Any<M>,
  output: Folder,
  signal: AbortSignal,
): AsyncGenerator<TrainCallEvent<M>> {
  const { method } = call;
  const wanted = call.resume ?? recipe.resume_from_checkpoint ?? false;
  const { resume, state } = await resumeFrom(output, {
    model: recipe.model_name_or_path ? host.folder(recipe.model_name_or_path).path : null,
    from: typeof wanted === "string" ? host.folder(wanted) : wanted,
    overwrite: recipe.overwrite_output_dir,
    verify: verifyOf(method),
  });
  const rewards = await rewardsOf(host, call, recipe);
  const narrator = new Narrator();
  const following = { signal, report: narrator.report };
  let gpu: Gpu | null = null;
  let own: { close(): Promise<void> } | null = null;
  try {
    const opened = call.gpu
      ? { gpu: call.gpu.again(), describe: call.gpu.adapterName, available: null }
      : await host.openGpu();
    const { describe, available } = opened;
    gpu = opened.gpu;
    const named = "environment" in recipe ? recipe.environment : null;
    const loaded = !call.environment && named !== null ? await host.environment(named) : null;
    own = loaded;
    const environment = call.environment ?? loaded;
    const given = await givenOf(host, call, recipe, following);
    const sources = {
      ...(yield* narrator.during(openSources(host, recipe, gpu, following, given))),
      onProgress: narrator.onProgress,
      rewards: rewards?.rewards,
      environment,
    };
    const training = yield* narrator.during(prepareTraining(method, recipe, sources));
    const { prepared } = training;
    for (const text of [...(rewards?.notes ?? []), ...prepared.notes]) yield noteOf<M>(text);
    const { forecast, rows } = prepared;
    const limit = recipe.max_memory === null ? available : recipe.max_memory * 1e9;
    const { max_steps } = prepared.batches;
    const global_step = state?.global_step ?? 0;
    yield { type: "plan", method, device: describe, forecast, available: limit, rows, max_steps, global_step };
    checkForecast(forecast, limit);
    if (host.tuning) yield* narrator.during(tune(gpu, prepared, host.tuning, { signal }));
    const base = recipe.model_name_or_path ?? sources.model.path;
    const trainee = yield* narrator.during(loadTraining(training, sources, base));
    const journal = new Journal(output, state?.global_step ?? null, recipe.overwrite_output_dir, {
      ...{ version: 1, method, model: base, data: recipe.dataset_name ?? "rows", max_steps, device: describe },
      ...{ recipe: formatRecipeYaml(recipe, method), began: "", ended: null, status: "running", problem: null },
    });
    const onProgress = (what: string, done: number, total: number) => narrator.report(what, done, total, "steps");
    const events = runTraining(training, trainee, { signal, output, resume, onProgress });
    try {
      for (;;) {
        const next = yield* narrator.during(events.next());
        if (next.done) break;
        await journal.take(next.value as EventOf[Method]);
        yield next.value as EventOf[M];
      }
    } catch (error) {
      await journal.end(error);
      throw error;
    }
    await journal.end(null);
  } finally {
    await gpu?.clear().catch(() => {}); // a lost device has said so already
    await rewards?.close();
    await own?.close();
  }
}

/** What the caller gives itself. Rows of a name stay the recipe's, with all of its rules for splits. */
async function givenOf<M extends Method>(
  host: CallHost,
  call: TrainCall<M>,
  recipe: Any<M>,
  following: Parameters<typeof openModelInput>[2],
): Promise<Given> {
  const { model, adapter, data, chat_template } = call;
  const { dataset_train_split, dataset_test_split } = recipe;
  const rows = (input: DataInput, split: string) => (folder: Folder) =>
    openRowsInput(host, input, { split, fields: recipe, model: folder }, following);
  return {
    ...(model !== undefined && { model: await openModelInput(host, model, following) }),
    ...(adapter !== undefined && { adapter: await openModelInput(host, adapter, following) }),
    ...(data !== undefined && dataName(data) === null && { train: rows(data, dataset_train_split) }),
    ...(call.eval !== undefined && { eval: rows(call.eval, dataset_test_split) }),
    ...(chat_template !== undefined && { chat_template }),
  };
}

/** The rewards of a recipe, of which the caller's own come first; null if the method has none. */
async function rewardsOf<M extends Method>(
  host: CallHost,
  { rewards = [], judge_key, method }: TrainCall<M>,
  recipe: Any<M>,
): Promise<OpenedRewards | null> {
  if (!("reward_funcs" in recipe)) {
    if (rewards.length === 0) return null;
    throw new RecipeError(`rewards are for grpo, not for ${method}`);
  }
  const own = new Map(rewards.map(namedReward).map((one) => [one.name, one]));
  const entries = recipe.reward_funcs ?? [];
  if (entries.length === 0) {
    throw new RecipeError(
      "reward_funcs is missing: give functions as rewards, or name registered ones in reward_funcs",
    );
  }
  const idle = [...own.keys()].find((name) => !entries.includes(name));
  if (idle !== undefined) {
    throw new RecipeError(`rewards has ${idle}, but reward_funcs does not name it: ${entries.join(", ")}`);
  }
  const { modules, judge } = host.rewards;
  const platform: RewardPlatform = {
    ...host.rewards,
    ...(judge && judge_key !== undefined && { judge: { ...judge, key: judge_key } }),
    modules: {
      open: async (entry) => own.get(entry) ?? (await modules?.open(entry)) ?? null,
      notes: () => modules?.notes() ?? [],
      end: async () => modules?.end(),
    },
  };
  return openRewards(entries, recipe as Partial<GrpoRecipe>, platform);
}

/** @throws {RecipeError} a function without a name, which metrics need */
function namedReward(given: RewardFunction | NamedReward): NamedReward {
  if (typeof given !== "function") return given;
  if (given.name) return { name: given.name, reward: given };
  throw new RecipeError("A reward function has no name, which its metrics need: give { name, reward } instead");
}

/** What a run writes beside its checkpoints, as the command line does. A run that fails early replaces nothing. */
class Journal {
  private readonly output: Folder;
  private readonly step: number | null;
  private readonly overwrite: boolean;
  private readonly facts: RunFacts;
  private began = Date.now();
  private log: RunLog | null = null;
  private completions: CompletionsLog | null = null;

  constructor(output: Folder, step: number | null, overwrite: boolean, facts: RunFacts) {
    this.output = output;
    this.step = step;
    this.overwrite = overwrite;
    this.facts = facts;
  }

  async take(event: EventOf[Method]): Promise<void> {
    if (event.type === "start") {
      this.began = Date.now();
      return;
    }
    this.log ??= await this.open();
    if (event.type === "log" || event.type === "eval") await this.log.append(event.record as LogRecord);
    if (event.type !== "generated") return;
    this.completions ??= await openCompletionsLog(this.output, this.step);
    await this.completions.append(event.step, event.records);
  }

  private async open(): Promise<RunLog> {
    const { output, step, overwrite, began } = this;
    if (step === null) for (const name of await checkpointNames(output)) await output.removeFolder(name);
    const log = await openRunLog(output, { resumeStep: step, overwrite, began });
    await beginRunFile(output, { ...this.facts, began: new Date(began).toISOString() }, step !== null);
    return log;
  }

  /** @param failure the error that ended the run; null: it finished */
  async end(failure: unknown): Promise<void> {
    if (this.log) await endRunFile(this.output, failure);
  }
}
