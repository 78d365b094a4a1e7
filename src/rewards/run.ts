import { AbortError, QwenchError, RecipeError, TrainingError } from "../errors.ts";
import { kindOf, show } from "../text/show.ts";
import { type NamedReward, type RewardContext, type Turn, textOf } from "./reward.ts";

/** Completions to score. */
export interface RewardBatch {
  prompts: readonly Turn[];
  completions: readonly Turn[];
  /** the data set's other columns, one value per completion */
  columns: Readonly<Record<string, readonly unknown[]>>;
  /** tokens of each completion; absent if only the text is known */
  completion_ids?: readonly ArrayLike<number>[];
  /** optimizer step, from 0 */
  step: number;
}

interface RewardLimits {
  /** per function and batch; null: no limit */
  timeout_ms: number | null;
  signal?: AbortSignal | null;
}

/** The rewards of all functions: the input of `groupAdvantages`. */
interface RewardResult {
  names: string[];
  weights: number[];
  /** [functions][completions]; null if a function does not apply */
  rewards: (number | null)[][];
  /** indices of completions that no function gave a reward: the model learns nothing from them */
  unscored: number[];
}

/**
 * Runs all reward functions over a batch, concurrently.
 *
 * A function that never settles fails after `timeout_ms`. A function that computes forever cannot be interrupted from
 * its own thread: run such code in a worker.
 *
 * @param weights `reward_weights`, one per function; null: 1 each
 * @throws {TrainingError} a function throws, exceeds its time, or returns anything but a finite number or null for each
 *   completion; the message names the function and the row
 * @throws {RecipeError} the number of weights differs from the number of functions; a repeated name; no functions
 * @throws {AbortError} the signal was aborted
 */
export async function runRewards(
  functions: readonly NamedReward[],
  weights: readonly number[] | null,
  batch: RewardBatch,
  { timeout_ms, signal = null }: RewardLimits,
): Promise<RewardResult> {
  const names = functions.map(({ name }) => name);
  checkFunctions(names, weights);
  checkBatch(batch);
  const stop = new AbortController();
  const onAbort = () => stop.abort(new AbortError("The run was stopped while it waited for rewards"));
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    stop.signal.throwIfAborted();
    const rewards = await Promise.all(functions.map((fn) => runOne(fn, batch, timeout_ms, stop.signal)));
    const unscored = batch.completions.map((_, row) => row).filter((row) => rewards.every((own) => own[row] === null));
    return { names, weights: weights ? [...weights] : names.map(() => 1), rewards, unscored };
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stop.abort(new AbortError("Rewards are no longer waited for"));
  }
}

async function runOne(
  { name, reward }: NamedReward,
  batch: RewardBatch,
  timeout_ms: number | null,
  signal: AbortSignal,
): Promise<(number | null)[]> {
  const { completions, prompts, columns } = batch;
  let result: unknown;
  try {
    result = await within((context) => reward(prompts, completions, columns, context), {
      step: batch.step,
      completion_ids: batch.completion_ids ?? null,
      timeout_ms,
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof OutOfTime) {
      throw new TrainingError(
        `Reward ${name} has not returned for ${completions.length} completions within ${timeout_ms} ms`,
      );
    }
    const row = await findRow({ name, reward }, batch, timeout_ms, signal);
    const where =
      row === null
        ? `the batch of ${completions.length} completions, though on none of them alone`
        : rowText(batch, row);
    throw new TrainingError(`Reward ${name} failed on ${where}: ${describe(error)}`, { cause: error });
  }
  return checkResult(name, result, batch);
}

class OutOfTime extends Error {}

/** Runs `body`, until the time is up or the signal aborts. */
async function within<T>(
  body: (context: RewardContext) => T | Promise<T>,
  { timeout_ms, signal, ...known }: RewardContext & { timeout_ms: number | null },
): Promise<T> {
  const own = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => own.abort(signal.reason);
  const ended = new Promise<never>((_, reject) => {
    own.signal.addEventListener("abort", () => reject(own.signal.reason), { once: true });
  });
  ended.catch(() => {}); // only the race below handles it
  signal.addEventListener("abort", onAbort, { once: true });
  if (timeout_ms !== null) timer = setTimeout(() => own.abort(new OutOfTime()), timeout_ms);
  try {
    const running = (async () => body({ ...known, signal: own.signal }))();
    return await Promise.race([running, ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    own.abort();
  }
}

/** The first completion on which the function throws alone; null if there is none, or no time is left. */
async function findRow(
  { reward }: NamedReward,
  { prompts, completions, columns, completion_ids, step }: RewardBatch,
  timeout_ms: number | null,
  signal: AbortSignal,
): Promise<number | null> {
  const end = timeout_ms === null ? null : Date.now() + timeout_ms;
  for (let row = 0; row < completions.length; row++) {
    const left = end === null ? null : end - Date.now();
    if (signal.aborted || (left !== null && left <= 0)) return null;
    const own = Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, [values[row]]]));
    try {
      await within((context) => reward([prompts[row]], [completions[row]], own, context), {
        step,
        completion_ids: completion_ids ? [completion_ids[row]] : null,
        timeout_ms: left,
        signal,
      });
    } catch (error) {
      return error instanceof OutOfTime || signal.aborted ? null : row;
    }
  }
  return null;
}

function checkResult(name: string, result: unknown, batch: RewardBatch): (number | null)[] {
  const wanted = batch.completions.length;
  const list = Array.isArray(result) || ArrayBuffer.isView(result) ? Array.from(result as ArrayLike<unknown>) : null;
  if (!list) {
    throw new TrainingError(
      `Reward ${name} must return an array with a number or null for each of ${wanted} completions, not ${kindOf(result)}`,
    );
  }
  if (list.length !== wanted) {
    throw new TrainingError(
      `Reward ${name} returned ${list.length} rewards for ${wanted} completions: it must return one for each`,
    );
  }
  list.forEach((value, row) => {
    if (value !== null && !(typeof value === "number" && Number.isFinite(value))) {
      throw new TrainingError(
        `Reward ${name} returned ${show(value)} for ${rowText(batch, row)}: a reward must be a finite number, or null if the function does not apply`,
      );
    }
  });
  return list as (number | null)[];
}

function checkFunctions(names: readonly string[], weights: readonly number[] | null): void {
  if (names.length === 0) throw new RecipeError("Cannot score completions: reward_funcs is empty");
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new RecipeError(`Cannot use reward function ${twice} twice: its metrics would mix`);
  if (!weights) return;
  if (weights.length !== names.length) {
    throw new RecipeError(
      `Cannot weight ${names.length} reward functions (${names.join(", ")}) with ${weights.length} reward_weights: each function needs one`,
    );
  }
  const odd = weights.find((weight) => !Number.isFinite(weight));
  if (odd !== undefined) throw new RecipeError(`Cannot weight a reward by ${odd}: reward_weights must be finite`);
}

function checkBatch({ prompts, completions, columns, completion_ids }: RewardBatch): void {
  for (const [name, values] of Object.entries({ ...columns, prompts, ...(completion_ids && { completion_ids }) })) {
    if (values.length !== completions.length) {
      throw new TrainingError(`Cannot reward ${completions.length} completions: there are ${values.length} ${name}`);
    }
  }
}

function rowText({ prompts, completions }: RewardBatch, row: number): string {
  const prompt = prompts[row];
  const asked = typeof prompt === "string" ? prompt : (prompt.at(-1)?.content ?? "");
  return `row ${row + 1} of ${completions.length} (prompt ${show(asked)}, completion ${show(textOf(completions[row]))})`;
}

function describe(error: unknown): string {
  if (error instanceof QwenchError) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : kindOf(error);
}
