import { RecipeError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { show } from "../text/show.ts";

/** One data set of a mixture, as TRL's DatasetConfig. */
export interface MixturePart {
  /** a file, a folder, a hub id, or the name of a builder (json, csv, parquet) whose files `data_files` names */
  path: string;
  /** configuration of a hub data set */
  name: string | null;
  /** subfolder of `path` that holds the files */
  data_dir: string | null;
  /** paths or patterns with `*`; by split if it is a mapping */
  data_files: readonly string[] | Readonly<Record<string, readonly string[]>> | null;
  /** a split, a slice such as `train[:100]` or `train[10%:]`, or a sum of these with `+` */
  split: string;
  columns: readonly string[] | null;
  /** target share of the rows of the mixture */
  fraction: number | null;
}

const KEYS = ["path", "name", "data_dir", "data_files", "split", "columns", "fraction"];

/**
 * Reads the `datasets` of a recipe.
 *
 * @throws {RecipeError} an unknown key, a value of the wrong type, or `fraction` for only some of the data sets
 * @see TRL's DatasetMixtureConfig
 */
export function readMixture(given: readonly Readonly<Record<string, unknown>>[]): MixturePart[] {
  const parts = given.map(readPart);
  const without = parts.findIndex(({ fraction }) => fraction === null);
  const first = parts.findIndex(({ fraction }) => fraction !== null);
  if (first >= 0 && without >= 0) {
    throw new RecipeError(
      `datasets needs a fraction for all of its data sets or for none: number ${first + 1} has one, number ${without + 1} has none`,
    );
  }
  if (first >= 0 && parts.every(({ fraction }) => fraction === 0)) {
    throw new RecipeError("datasets needs a fraction above 0, got 0 for all of its data sets");
  }
  return parts;
}

function readPart(given: Readonly<Record<string, unknown>>, i: number): MixturePart {
  const where = `datasets, number ${i + 1}`;
  const refuse = (key: string, rule: string): never => {
    throw new RecipeError(`${where}: ${key} must be ${rule}, got ${show(given[key])}`);
  };
  const odd = Object.keys(given).find((key) => !KEYS.includes(key));
  if (odd !== undefined) throw new RecipeError(`${where}: unknown key ${show(odd)}; it takes ${KEYS.join(", ")}`);
  const filled = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";
  const text = (key: string) => {
    const value = given[key] ?? null;
    return value === null || filled(value) ? (value as string | null) : refuse(key, "text that is not empty, or null");
  };
  const names = (key: string, value: unknown): readonly string[] => {
    const list = typeof value === "string" ? [value] : value;
    const fits = Array.isArray(list) && list.length > 0 && list.every(filled);
    return fits ? (list as string[]) : refuse(key, "names that are not empty");
  };
  const fraction = given.fraction ?? null;
  if (fraction !== null && !(typeof fraction === "number" && Number.isFinite(fraction) && fraction >= 0)) {
    refuse("fraction", "a number of at least 0, or null");
  }
  const files = given.data_files ?? null;
  return {
    path: text("path") ?? refuse("path", "a file, a folder, a hub id, or json, csv or parquet"),
    name: text("name"),
    data_dir: text("data_dir"),
    data_files: isObject(files)
      ? Object.fromEntries(Object.entries(files).map(([split, value]) => [split, names("data_files", value)]))
      : files && names("data_files", files),
    split: text("split") ?? "train",
    columns: (given.columns ?? null) === null ? null : names("columns", given.columns),
    fraction: fraction as number | null,
  };
}
