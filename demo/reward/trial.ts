import type { RewardInput, RewardSandbox, RewardSource } from "../../src/client/types.ts";
import type { NamedReward } from "../../src/rewards/reward.ts";
import { runRewards } from "../../src/rewards/run.ts";
import { messageOf } from "../../src/text/show.ts";

/** Milliseconds for a trial, and for one row of it. */
const TRIAL_MS = 1000;
const ROW_MS = 400;

/** The scores of a module's functions. */
export interface Trial {
  functions: string[];
  /** [functions][completions]; a function that failed has none */
  scores: ((number | null)[] | null)[];
  fault: { text: string; line: number | null } | null;
  ms: number;
}

/** Runs each function of a module on the same completions as a run would. Never throws. */
export async function tryModule(sandbox: RewardSandbox, module: RewardSource, input: RewardInput): Promise<Trial> {
  const trial: Trial = { functions: [], scores: [], fault: null, ms: 0 };
  let id: number | null = null;
  try {
    const opened = await sandbox.open(module);
    id = opened.id;
    trial.functions = opened.exports.filter(({ kind }) => kind === "function").map((item) => item.export);
    if (trial.functions.length === 0) {
      trial.fault = { text: `${module.name} exports no function: write export before it`, line: null };
    }
    const began = performance.now();
    for (const name of trial.functions) {
      const own = id;
      const reward: NamedReward["reward"] = (prompts, completions, columns, { signal, step }) =>
        sandbox.call(own, name, { prompts, completions, columns, step, completion_ids: null }, { signal }) as Promise<
          (number | null)[]
        >;
      trial.scores.push(await score({ name, reward }, input, trial));
    }
    trial.ms = performance.now() - began;
  } catch (error) {
    trial.fault ??= { text: `${module.name} did not load: ${nameOf(error)}`, line: lineOf(error) };
  } finally {
    if (id !== null) await sandbox.end(id);
  }
  return trial;
}

async function score(named: NamedReward, input: RewardInput, trial: Trial): Promise<(number | null)[] | null> {
  try {
    return (await runRewards([named], null, batchOf(input), { timeout_ms: TRIAL_MS })).rewards[0];
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const late = cause === undefined && /has not returned/.test(messageOf(error)) ? await lateRow(named, input) : "";
    trial.fault ??= { text: `${messageOf(error)}${late}${advice(cause)}`, line: lineOf(cause) };
    return null;
  }
}

/** The first row on which the function takes too long alone. */
async function lateRow(named: NamedReward, input: RewardInput): Promise<string> {
  for (let row = 0; row < input.completions.length; row++) {
    try {
      await runRewards([named], null, batchOf(rowsOf(input, [row])), { timeout_ms: ROW_MS });
    } catch (error) {
      if (/has not returned/.test(messageOf(error))) return `. Row ${row + 1} alone is enough`;
    }
  }
  return ". Each row alone returns";
}

/** Some rows of an input. */
function rowsOf(input: RewardInput, rows: readonly number[]): RewardInput {
  const pick = <T>(list: readonly T[]) => rows.map((row) => list[row]);
  const columns = Object.entries(input.columns).map(([name, values]) => [name, pick(values)] as const);
  return {
    ...input,
    prompts: pick(input.prompts),
    completions: pick(input.completions),
    columns: Object.fromEntries(columns),
    completion_ids: null,
  };
}

function batchOf({ prompts, completions, columns, step }: RewardInput) {
  return { prompts, completions, columns, step };
}

/** What usually explains an error in the sandbox. */
function advice(cause: unknown): string {
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : "";
  const outside = /fetch|network|import|document|window|localStorage|indexedDB|SecurityError|parent|XMLHttp|WebSocket/i;
  return outside.test(text) ? ". A reward has no network, no storage and no page" : "";
}

const nameOf = (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : messageOf(error));

function lineOf(error: unknown): number | null {
  const { line } = (error ?? {}) as { line?: unknown };
  return typeof line === "number" ? line : null;
}
