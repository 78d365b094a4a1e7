import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../../errors.ts";
import { type PublishedRecipe, RECIPES } from "../../recipe/published.ts";
import { type GrpoRecipe, type Method, nearestName, type ParsedRecipe } from "../../recipe/recipe.ts";
import { parseRecipeYaml } from "../../recipe/yaml.ts";
import { UsageError } from "../args.ts";

/**
 * The folder of the published recipes, `recipes`, found from the source tree or from the built `dist/cli.js`.
 *
 * @param from URL of the running module
 * @throws {NotFoundError} the message lists the places searched
 */
export function recipesFolder(from: string = import.meta.url): string {
  const tried = ["..", "../../.."].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "recipes"));
  const found = tried.find((folder) => existsSync(folder));
  if (!found) throw new NotFoundError(`Cannot find the recipes: there is no folder ${tried.join(" or ")}`);
  return found;
}

/** @throws {UsageError} an unknown name; the message suggests the nearest */
export function publishedRecipe(name: string): PublishedRecipe {
  const found = RECIPES.find((recipe) => recipe.name === name);
  if (found) return found;
  const plain = new Map(RECIPES.map((recipe) => [recipe.name.replaceAll("-", "_"), recipe.name]));
  const near = nearestName(name, plain.keys());
  const names = RECIPES.map((recipe) => recipe.name).join(", ");
  throw new UsageError(
    `There is no recipe ${name.slice(0, 64)}${near ? `: did you mean ${plain.get(near)}?` : `: ${names}`}`,
  );
}

/** The recipe's original YAML. */
export function publishedText({ file }: PublishedRecipe): string {
  return readFileSync(join(recipesFolder(), file), "utf8");
}

/**
 * A recipe by its name, overridden by flags. Reward modules beside its file get their full paths.
 *
 * @throws {UsageError} an unknown name, or a recipe for the other method
 */
export function readPublished<M extends Method>(
  name: string,
  method: M,
  overrides: Readonly<Record<string, unknown>>,
): ParsedRecipe<M> {
  const published = publishedRecipe(name);
  if (published.method !== method) {
    throw new UsageError(
      `The recipe ${name} is for ${published.method}: run qwench ${published.method} --recipe ${name}`,
    );
  }
  const file = join(recipesFolder(), published.file);
  const parsed = parseRecipeYaml(publishedText(published), published.file, method, overrides);
  const { reward_funcs } = parsed.recipe as Partial<GrpoRecipe>;
  if ("reward_funcs" in overrides || !reward_funcs) return parsed;
  const beside = reward_funcs.map((entry) => (entry.startsWith("./") ? join(dirname(file), entry) : entry));
  return { ...parsed, recipe: { ...parsed.recipe, reward_funcs: beside } };
}

/**
 * Rejects a second stage without its first stage's result.
 *
 * @throws {NotFoundError} the message names the command that creates the adapter
 */
export function checkStages(name: string, recipe: { adapter_name_or_path: string | null }): void {
  const { adapter_name_or_path: adapter } = recipe;
  const first = RECIPES.find((other) => adapter === `qwench-${other.name}`);
  if (!first || existsSync(adapter!)) return;
  throw new NotFoundError(
    `The recipe ${name} continues from the adapter in ${adapter}, but there is no such folder: run qwench ${first.method} --recipe ${first.name} first, name another with --adapter_name_or_path, or start with a new adapter with --adapter_name_or_path null`,
  );
}
