import { RecipeError } from "../../errors.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { GrpoRecipe, Method, ParsedRecipe, SftRecipe } from "../../recipe/recipe.ts";
import { formatRecipeYaml } from "../../recipe/yaml.ts";
import { REWARDS } from "../../rewards/registry.ts";
import { holding } from "../../session/hold.ts";
import type { OpenedRewards } from "../../session/rewards.ts";
import { timed } from "../../session/run-times.ts";
import { timeInputOf } from "../../session/time-forecast.ts";
import { loadTraining, prepareTraining, runTraining, verifyOf } from "../../session/train.ts";
import type { ParsedArgs } from "../args.ts";
import { timeLine } from "../runs/costs.ts";
import { follow } from "../runs/follow.ts";
import { kindOf } from "../runs/kinds.ts";
import { openSources, readRecipe } from "../runs/prepare.ts";
import { announce, STOPPING, startRun } from "../runs/run.ts";
import { timesStore } from "../runs/tuning.ts";
import { dryRun } from "../sources/dry-run.ts";
import { type OpenedEnvironment, openEnvironment } from "../sources/environment.ts";
import { checkRecipeFiles } from "../sources/file-names.ts";
import { openRewards } from "../sources/rewards.ts";
import { interruptible } from "../terminal/interrupt.ts";

/** A run's folder is claimed by `qwench.lock`. */
const RUN_LOCK = "qwench";

/** `qwench sft`, `qwench grpo`: trains by a recipe. @returns the exit code */
export function runTrain(args: ParsedArgs, method?: Method): Promise<number> {
  return interruptible(async (signal) => {
    const parsed = await readRecipe(args, method!);
    if (args.flags.dry_run === undefined) checkRecipeFiles(parsed.recipe as SftRecipe | GrpoRecipe);
    if (args.flags.dry_run === undefined) return train(method!, parsed, signal);
    return dryRun(args, method!, parsed, (tiny) => train(method!, tiny, signal));
  }, STOPPING);
}

/** Opens a recipe's rewards, if its method has any, trains, and closes the rewards. */
async function train<M extends Method>(method: M, parsed: ParsedRecipe<M>, signal: AbortSignal): Promise<number> {
  const { output_dir } = parsed.recipe as SftRecipe | GrpoRecipe;
  const claim = { name: RUN_LOCK, what: `train in ${output_dir}`, instead: "name another --output_dir" };
  return holding({ folder: nodeFolder(output_dir), ...claim }, () => trainThere(method, parsed, signal));
}

async function trainThere<M extends Method>(
  method: M,
  { recipe, notes }: ParsedRecipe<M>,
  signal: AbortSignal,
): Promise<number> {
  const opened = await rewardsOf(recipe as SftRecipe | GrpoRecipe);
  const environment = await environmentOf(recipe as SftRecipe | GrpoRecipe);
  for (const note of [...notes, ...(opened?.notes ?? [])]) console.error(`note: ${note}`);
  try {
    const both = recipe as SftRecipe | GrpoRecipe;
    const run = await startRun(both, signal, verifyOf(method));
    const sources = {
      ...(await openSources(both, run.gpu, signal, run.status)),
      rewards: opened?.rewards,
      environment,
    };
    const training = await prepareTraining(method, recipe, sources);
    const kind = kindOf(training);
    await announce(both, run, training.prepared, kind.description);
    const asked = {
      gpu: run.gpu,
      config: training.prepared.config,
      input: () => timeInputOf(training),
      model: both.model_name_or_path!,
    };
    const time = await timeLine({ ...asked, measure: run.platform.software ? 0 : null, signal, status: run.status });
    if (time) console.error(time);
    const trainee = await loadTraining(training, sources, both.model_name_or_path!);
    run.status(null);
    const { output, resume } = run;
    const model = both.model_name_or_path!;
    const running = runTraining(training, trainee, { signal, output, resume, onProgress: kind.onProgress });
    const events = timed(running, { gpu: run.gpu, training, model, store: timesStore() });
    return await follow(events, both, run, training.prepared, { ...kind, yaml: formatRecipeYaml(recipe, method) });
  } finally {
    for (const line of opened?.summary() ?? []) console.error(line);
    await opened?.close();
    await environment?.close();
  }
}

/** The functions that a recipe lets the model call, or null. */
export async function environmentOf(recipe: SftRecipe | GrpoRecipe): Promise<OpenedEnvironment | null> {
  return "environment" in recipe && recipe.environment !== null ? openEnvironment(recipe.environment) : null;
}

/** The reward functions of a recipe, in its order, or null if its method has none. */
export async function rewardsOf(recipe: SftRecipe | GrpoRecipe): Promise<OpenedRewards | null> {
  if (!("reward_funcs" in recipe)) return null;
  if (recipe.reward_funcs === null) {
    throw new RecipeError(
      `reward_funcs is missing: name functions that score completions (${Object.keys(REWARDS).join(", ")}), or paths of modules, such as ./my-rewards.js`,
    );
  }
  return openRewards(recipe.reward_funcs, recipe);
}
