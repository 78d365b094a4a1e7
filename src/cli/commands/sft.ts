import type { ParsedRecipe } from "../../recipe/recipe.ts";
import { formatRecipeYaml } from "../../recipe/yaml.ts";
import { loadSft, prepareSft, sft } from "../../session/open.ts";
import type { ParsedArgs } from "../args.ts";
import { describeRows, openSources, readRecipe } from "../runs/prepare.ts";
import { announce, follow, STOPPING, startRun } from "../runs/run.ts";
import { dryRun } from "../sources/dry-run.ts";
import { interruptible } from "../terminal/interrupt.ts";

/** `qwench sft`: trains as a recipe says. @returns the exit code */
export function runSft(args: ParsedArgs): Promise<number> {
  return interruptible(async (signal) => {
    const parsed = await readRecipe(args, "sft");
    if (args.flags.dry_run === undefined) return train(parsed, signal);
    return dryRun(args, "sft", parsed, (tiny) => train(tiny, signal));
  }, STOPPING);
}

async function train({ recipe, notes }: ParsedRecipe<"sft">, signal: AbortSignal): Promise<number> {
  for (const note of notes) console.error(`note: ${note}`);
  const run = await startRun(recipe, signal);
  const sources = await openSources(recipe, run.gpu, signal, run.status);
  const prepared = await prepareSft(recipe, sources);
  await announce(recipe, run, prepared, describeRows(prepared));
  const trainee = await loadSft(recipe, prepared, sources, recipe.model_name_or_path!);
  run.status(null);
  const { output, resume } = run;
  return follow(sft(trainee, prepared.data, recipe, { signal, output, resume }), recipe, run, prepared, {
    method: "Supervised fine-tuning",
    yaml: formatRecipeYaml(recipe, "sft"),
  });
}
