import { NotFoundError, RecipeError } from "../errors.ts";
import type { NamedReward, RewardFunction } from "../rewards/reward.ts";

/** An export of a module: its `typeof`, and a function's own name. */
export interface ModuleExport {
  export: string;
  kind: string;
  name: string | null;
}

/** A path and an export after a colon: `./mine.ts:exact`. A colon before a slash belongs to a drive letter. */
const MODULE = /^(.+\.[cm]?[jt]s)(?::([^:\\/]+))?$/;

/** The module's path of an entry of `reward_funcs`, and the export that it names; null if it is no module's path. */
export function moduleEntry(entry: string): { path: string; wanted: string | null } | null {
  const found = MODULE.exec(entry);
  return found && { path: found[1], wanted: found[2] ?? null };
}

/**
 * The export that an entry means, with the name for its metrics: the named export, else the default export, else the only
 * function. A default export is called by the function's own name, or else the file's.
 *
 * @param path of the module, as messages name it
 * @param reward the function of an export
 * @throws {NotFoundError} no such export; the message lists them
 * @throws {RecipeError} the export is not a function
 */
export function pickReward(
  entry: string,
  { path, wanted }: { path: string; wanted: string | null },
  exports: readonly ModuleExport[],
  reward: (name: string) => RewardFunction,
): NamedReward {
  const functions = exports.filter(({ kind }) => kind === "function");
  const there = `it exports ${exports.map((item) => item.export).join(", ") || "nothing"}`;
  const only = functions.length === 1 ? functions[0] : undefined;
  const byDefault = exports.find((item) => item.export === "default");
  const found = wanted === null ? (byDefault ?? only) : exports.find((item) => item.export === wanted);
  if (!found) {
    if (wanted !== null)
      throw new NotFoundError(`Cannot use reward_funcs ${entry}: ${path} has no ${wanted}; ${there}`);
    throw new NotFoundError(
      `Cannot use reward_funcs ${entry}: ${path} has no default export; ${there}${functions.length > 1 ? `. Name one, such as ${path}:${functions[0].export}` : ""}`,
    );
  }
  if (found.kind !== "function") {
    throw new RecipeError(`Cannot use reward_funcs ${entry}: ${found.export} is of type ${found.kind}, not a function`);
  }
  const file = path.split(/[\\/]/).at(-1)!;
  const own = found.name && found.name !== "default" ? found.name : file.replace(/\.[cm]?[jt]s$/, "");
  return { name: found.export === "default" ? own : found.export, reward: reward(found.export) };
}
