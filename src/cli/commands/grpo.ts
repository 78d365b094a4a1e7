import { RecipeError } from "../../errors.ts";
import type { GrpoRecipe, ParsedRecipe } from "../../recipe/recipe.ts";
import { formatRecipeYaml } from "../../recipe/yaml.ts";
import { REWARDS } from "../../rewards/registry.ts";
import type { NamedReward } from "../../rewards/reward.ts";
import { type CompletionRecord, type GrpoEvent, grpo, loadGrpo, prepareGrpo } from "../../session/grpo.ts";
import { readBuffer } from "../../train/grpo/buffer.ts";
import type { ParsedArgs } from "../args.ts";
import { type CompletionsLog, openCompletionsLog } from "../runs/completions-log.ts";
import { describePrompts, openSources, readRecipe } from "../runs/prepare.ts";
import { announce, follow, type RunKind, STOPPING, startRun } from "../runs/run.ts";
import { dryRun } from "../sources/dry-run.ts";
import { type OpenedRewards, openRewards } from "../sources/rewards.ts";
import { completionsTable } from "../terminal/completions-table.ts";
import { interruptible } from "../terminal/interrupt.ts";
import type { Progress } from "../terminal/progress.ts";

/** `qwench grpo`: trains by rewards as a recipe says. @returns the exit code */
export function runGrpo(args: ParsedArgs): Promise<number> {
  return interruptible(async (signal) => {
    const parsed = await readRecipe(args, "grpo");
    if (args.flags.dry_run === undefined) return reward(parsed, signal);
    return dryRun(args, "grpo", parsed, (tiny) => reward(tiny, signal));
  }, STOPPING);
}

/** Opens a recipe's rewards, trains by them, and ends them. */
async function reward({ recipe, notes }: ParsedRecipe<"grpo">, signal: AbortSignal): Promise<number> {
  const opened = await rewardsOf(recipe);
  for (const note of [...notes, ...opened.notes]) console.error(`note: ${note}`);
  try {
    return await train(recipe, opened.rewards, signal);
  } finally {
    for (const line of opened.summary()) console.error(line);
    await opened.close();
  }
}

async function train(recipe: GrpoRecipe, rewards: readonly NamedReward[], signal: AbortSignal): Promise<number> {
  const run = await startRun(recipe, signal, readBuffer);
  const { output, resume } = run;
  const sources = { ...(await openSources(recipe, run.gpu, signal, run.status)), rewards };
  const prepared = await prepareGrpo(recipe, sources);
  await announce(recipe, run, prepared, describePrompts(recipe, prepared));
  const trainee = await loadGrpo(recipe, prepared, sources, recipe.model_name_or_path!);
  run.status(null);
  const kind = grpoKind(recipe);
  const { onProgress } = kind;
  const events = grpo(trainee, prepared.data, recipe, { signal, output, resume, onProgress });
  return follow(events, recipe, run, prepared, kind);
}

/** The reward functions of a recipe, in its order. */
export async function rewardsOf(recipe: GrpoRecipe): Promise<OpenedRewards> {
  if (recipe.reward_funcs === null) {
    throw new RecipeError(
      `reward_funcs is missing: names of functions that score completions (${Object.keys(REWARDS).join(", ")}), or modules by their path, such as ./my-rewards.js`,
    );
  }
  return openRewards(recipe.reward_funcs, recipe);
}

/** What a GRPO run shows and keeps beside every run's: its completions. */
function grpoKind(
  recipe: GrpoRecipe,
): RunKind<GrpoEvent> & { onProgress(what: string, done: number, total: number): void } {
  const most = recipe.num_completions_to_print ?? Number.POSITIVE_INFINITY;
  let log: CompletionsLog | null = null;
  let shown: Progress | null = null;
  let newest: readonly CompletionRecord[] = [];
  return {
    method: "GRPO",
    yaml: formatRecipeYaml(recipe, "grpo"),
    follow(progress) {
      shown = progress;
    },
    onProgress: (what, done, total) => shown?.doing(`${what} ${done}/${total}`),
    async begin(output, step) {
      log = await openCompletionsLog(output, step);
    },
    async take(event, progress) {
      if (event.type === "generated") {
        newest = event.records;
        await log!.append(event.step, newest);
      } else if (event.type === "warning") progress.message(`warning: ${event.text}`);
      else if (event.type === "log" && recipe.log_completions && newest.length > 0) {
        progress.message(completionsTable(newest.slice(0, most), process.stderr.columns || 120));
      }
    },
    report: async () => ({ completions: await log!.samples() }),
  };
}
