import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { readRows } from "../../data/dataset.ts";
import type { RowSet } from "../../data/mixture.ts";
import { NotFoundError, RecipeError } from "../../errors.ts";
import { nodeFile } from "../../platform/node/fs.ts";
import { mixtureOf, type PartToOpen } from "../../session/call/mixture.ts";
import { globPattern } from "../../text/glob.ts";
import type { CliHub } from "./hub.ts";
import { DATA_FILE, openRows } from "./sources.ts";

/** Builders of the datasets library whose files Qwench reads. */
const BUILDERS = ["json", "csv", "parquet"];

/**
 * The rows of a recipe's `datasets`. A path may be what the datasets library takes (a hub id; json, csv or parquet with
 * data_files; a folder), or a file.
 *
 * @throws {RecipeError} a part that cannot be read so
 */
export function openMixture(datasets: readonly Readonly<Record<string, unknown>>[], hub: CliHub): RowSet {
  return mixtureOf(datasets, (part) => open(part, hub));
}

function open({ path, name, data_dir, split, files }: PartToOpen, hub: CliHub) {
  if (BUILDERS.includes(path) && !existsSync(path)) {
    if (files === null && data_dir === null) {
      throw new RecipeError(`datasets: path ${path} needs data_files or data_dir, which name the files to read`);
    }
    return rowsOf(data_dir ?? ".", files ?? ["**"]);
  }
  if (existsSync(path) && statSync(path).isDirectory() && (files !== null || data_dir !== null)) {
    const folder = data_dir === null ? path : join(path, data_dir);
    return files === null ? openRows(folder, { config: name, split }, hub) : rowsOf(folder, files);
  }
  const wanted = { ...(data_dir !== null && { data_dir }), ...(files !== null && { data_files: files }) };
  return openRows(path, { config: name, split, ...wanted }, hub);
}

/** Rows of the files that fit one of the patterns, in the order of the patterns, then of the names. */
async function* rowsOf(folder: string, patterns: readonly string[]) {
  for (const pattern of patterns) {
    const path = resolve(folder, pattern).replaceAll("\\", "/");
    if (existsSync(path) || !/[*?]/.test(path)) {
      yield* readRows(await nodeFile(path));
      continue;
    }
    const fits = globPattern(path);
    const top = path.slice(0, path.search(/[*?]/)).replace(/[^/]*$/, "");
    const all = existsSync(top) ? readdirSync(top, { recursive: true, encoding: "utf8" }) : [];
    const files = all.map((name) => `${top}${name.replaceAll("\\", "/")}`).filter((file) => fits.test(file));
    const rows = files.filter((file) => DATA_FILE.test(file) && statSync(file).isFile()).sort();
    if (rows.length === 0) throw new NotFoundError(`Cannot read rows: no file below ${top} fits ${pattern}`);
    for (const file of rows) yield* readRows(await nodeFile(file));
  }
}
