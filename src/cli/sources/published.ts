import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../../errors.ts";
import { type PublishedRecipe, RECIPES } from "../../recipe/published.ts";
import { type GrpoRecipe, type Method, nearestName, type ParsedRecipe } from "../../recipe/recipe.ts";
import { parseRecipeYaml } from "../../recipe/yaml.ts";
import { UsageError } from "../args.ts";

/**
 * The folder of the recipes that come with Qwench, `recipes`, from the source tree or from the built `dist/cli.js`.
 *
 * @param from URL of the module that runs
 * @throws {NotFoundError} with the places that were tried
 */
export function recipesFolder(from: string = import.meta.url): string {
  const tried = ["..", "../../.."].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "recipes"));
  const found = tried.find((folder) => existsSync(folder));
  if (!found) throw new NotFoundError(`Cannot find the recipes: there is no folder ${tried.join(" or ")}`);
  return found;
}

/** @throws {UsageError} an unknown name, with the nearest one */
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

/** The recipe's YAML, word for word. */
export function publishedText({ file }: PublishedRecipe): string {
  return readFileSync(join(recipesFolder(), file), "utf8");
}

/**
 * A recipe by its name, with flags over it. Reward modules that lie beside its file are named by their whole paths.
 *
 * @throws {UsageError} an unknown name, or a recipe of the other method
 */
export function readPublished<M extends Method>(
  name: string,
  method: M,
  overrides: Readonly<Record<string, unknown>>,
): ParsedRecipe<M> {
  const published = publishedRecipe(name);
  if (published.method !== method) {
    throw new UsageError(
      `The recipe ${name} is one for ${published.method}: qwench ${published.method} --recipe ${name}`,
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
 * Refuses a second stage whose first one has left nothing.
 *
 * @throws {NotFoundError} with the command that makes the adapter
 */
export function checkStages(name: string, recipe: { adapter_name_or_path: string | null }): void {
  const { adapter_name_or_path: adapter } = recipe;
  const first = RECIPES.find((other) => adapter === `qwench-${other.name}`);
  if (!first || existsSync(adapter!)) return;
  throw new NotFoundError(
    `The recipe ${name} goes on from the adapter in ${adapter}, and there is no such folder: run qwench ${first.method} --recipe ${first.name} first, name another with --adapter_name_or_path, or start afresh with --adapter_name_or_path null`,
  );
}
