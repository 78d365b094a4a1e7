import { existsSync, readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { NotFoundError } from "../../errors.ts";
import { nearestName } from "../../recipe/recipe.ts";

/** Ends of names that only files have. */
const FILE =
  /\.(jsonl|ndjson|json|csv|tsv|parquet|txt|md|pdf|ya?ml|jinja|safetensors|gguf|bin|zip|[cm]?[jt]s)(\.gz)?$/i;
/** Starts of names that only paths have: `./`, `../`, `/`, `~`, `C:\`, also without a slash where nothing follows. */
const PATH = /^(\.{1,2}([\\/]|$)|[\\/~]|[A-Za-z]:[\\/])/;

/** Whether a name can only mean a file or a folder: a hub id is `owner/name` or `name`, without such an end. */
export function isFileLike(name: string): boolean {
  return PATH.test(name) || FILE.test(name) || name.includes("\\") || name.split("/").length > 2;
}

/**
 * Says at once that a file or folder is missing, where a name can mean nothing else: before a download, and offline too.
 *
 * @param doing what cannot be done without it, such as `read rows from`
 * @throws {NotFoundError} the message suggests the nearest name beside it
 */
export function checkFileLike(name: string, doing: string): void {
  if (!isFileLike(name) || existsSync(name)) return;
  const folder = dirname(name);
  const near = existsSync(folder) ? nearestName(basename(name), readdirSync(folder)) : null;
  const why = existsSync(folder) ? "there is no such file or folder" : `there is no folder ${folder}`;
  throw new NotFoundError(`Cannot ${doing} ${name}: ${why}${near ? `; did you mean ${near}?` : ""}`);
}

/** The fields of a recipe that name files. */
interface NamingFields {
  model_name_or_path: string | null;
  adapter_name_or_path: string | null;
  dataset_name: string | null;
  eval_dataset_name: string | null;
  chat_template_path: string | null;
}

/** Checks a recipe's names before anything is downloaded or opened. @throws {NotFoundError} */
export function checkRecipeFiles(recipe: NamingFields): void {
  const names: [string | null, string][] = [
    [recipe.model_name_or_path, "load"],
    [recipe.adapter_name_or_path, "load the adapter"],
    [recipe.dataset_name, "read rows from"],
    [recipe.eval_dataset_name, "read rows from"],
    [recipe.chat_template_path, "read the chat template"],
  ];
  for (const [name, doing] of names) if (name !== null) checkFileLike(name, doing);
}
