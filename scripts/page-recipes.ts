// Writes workers/session/published.json: the published recipes that the page offers. `npx tsx scripts/page-recipes.ts`; a test
// fails until the file is up to date.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { publishedText } from "../src/cli/sources/published.ts";
import { DATA_SETS } from "../src/data/sets/registry.ts";
import { RECIPES } from "../src/recipe/published.ts";
import type { GrpoRecipe, SftRecipe } from "../src/recipe/recipe.ts";
import { parseRecipeYaml } from "../src/recipe/yaml.ts";
import { parseForm } from "../workers/session/recipes.ts";

export const FILE = fileURLToPath(new URL("../workers/session/published.json", import.meta.url));

/** Fields of an evaluation during training, for which the page has no rows beside the training rows. */
const OF_EVALUATION =
  /^(?:eval_.*|per_device_eval_batch_size|load_best_model_at_end|metric_for_best_model|greater_is_better|early_.*)$/;

type Published = SftRecipe & Partial<Pick<GrpoRecipe, "reward_funcs">>;

/** Why the page cannot train a recipe, or null. */
function leftOut(recipe: Published, image: boolean): string | null {
  if (!recipe.use_peft) return "it trains all weights, and the page trains adapters";
  if (image) return "its rows have images";
  if (recipe.datasets) return "it mixes several data sets";
  if (recipe.adapter_name_or_path) return "it goes on from an earlier stage's folder";
  if (recipe.reward_funcs?.some((name) => name === "judge" || name.startsWith("./"))) return "its rewards are a file";
  if ((DATA_SETS[recipe.dataset_name ?? ""]?.homes.length ?? 1) > 1) return "its rows come from several places";
  return null;
}

/** The published recipes that the page can train, as its presets. */
export async function pageRecipes(): Promise<string> {
  const made: unknown[] = [];
  for (const published of RECIPES) {
    const { name, file, method, about, source, image } = published;
    const text = publishedText(published);
    const recipe = parseRecipeYaml(text, file, method).recipe as unknown as Published;
    if (leftOut(recipe, image !== undefined)) continue;
    const known = DATA_SETS[recipe.dataset_name!];
    const home = known?.homes[0];
    const config = recipe.dataset_config ?? home?.config;
    const split = recipe.dataset_train_split;
    const fields = (await parseForm(text, method)).recipe;
    made.push({
      id: `published-${name}`,
      name,
      help: `${about[0].toUpperCase()}${about.slice(1)}. Published at ${source}`,
      method,
      model: null,
      recipe: {
        ...Object.fromEntries(Object.entries(fields).filter(([key]) => !OF_EVALUATION.test(key))),
        ...(known && !recipe.dataset_format && { dataset_format: known.name }),
      },
      job: {
        model: { kind: "hub", id: recipe.model_name_or_path },
        data: {
          kind: "hub",
          id: home?.id ?? recipe.dataset_name,
          ...(config && { config }),
          ...(split && split !== "train" && { split: home?.splits?.[split] ?? split }),
        },
      },
    });
  }
  return `${JSON.stringify(made, null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(FILE, await pageRecipes());
