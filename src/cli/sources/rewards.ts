import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FormatError, NotFoundError, UnsupportedError } from "../../errors.ts";
import { JUDGE_KEY } from "../../rewards/judge/endpoint.ts";
import type { RewardParameters } from "../../rewards/registry.ts";
import type { RewardFunction } from "../../rewards/reward.ts";
import { type ModuleExport, moduleEntry, pickReward } from "../../session/reward-modules.ts";
import {
  type OpenedRewards,
  openRewards as openAnywhere,
  type RewardModules,
  type RewardPlatform,
} from "../../session/rewards.ts";
import { openCodePool } from "./code.ts";
import { openJudgeCache } from "./judge-cache.ts";
import { RewardModule } from "./rewards-module.ts";

/** Milliseconds before retrying a judge. */
const BACKOFF_MS = 1000;

/**
 * The functions of `reward_funcs` on this machine: registered names, and modules.
 *
 * An entry is a registered name, or the path of a JavaScript or TypeScript module from the working directory: `./mine.js:exact`
 * is that export; `./mine.js` is the default export, or the only exported function. Metrics use the export's name; a default
 * export uses the function's own name, or else the file's. Each module runs in its own thread.
 *
 * @param parameters the recipe's settings for registered functions
 * @throws {NotFoundError} an unknown name, module or export; the message suggests the nearest name or lists the exports
 * @throws {RecipeError} an export is not a function; two functions have the same name; a name is also a column of the
 *   completions
 */
export function openRewards(
  entries: readonly string[],
  parameters: Partial<RewardParameters> = {},
): Promise<OpenedRewards> {
  return openAnywhere(entries, parameters, rewardPlatform());
}

/** What this machine provides for rewards: threads, a judge with the environment's key, the user's modules. */
export function rewardPlatform(): RewardPlatform {
  const judge = {
    key: process.env[JUDGE_KEY]?.trim() || null,
    fetch,
    backoff_ms: BACKOFF_MS,
    openCache: openJudgeCache,
  };
  return { openCodePool, judge, modules: nodeModules() };
}

/** The user's modules, each opened once. */
function nodeModules(): RewardModules {
  const modules = new Map<string, LoadedModule>();
  const notes: string[] = [];
  return {
    async open(entry) {
      const found = moduleEntry(entry);
      if (!found) return null;
      const path = resolve(found.path);
      const module = modules.get(path) ?? (await loadModule(path, notes));
      modules.set(path, module);
      return pickReward(entry, found, module.exports, module.reward);
    },
    notes: () => notes,
    async end() {
      for (const module of modules.values()) await module.end();
    },
  };
}

interface LoadedModule {
  exports: ModuleExport[];
  reward(name: string): RewardFunction;
  end(): Promise<void>;
}

async function loadModule(path: string, notes: string[]): Promise<LoadedModule> {
  const refuse = (error: unknown) =>
    new FormatError(`Cannot load the rewards in ${path}: ${(error as Error).name}: ${(error as Error).message}`, {
      cause: error,
    });
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new NotFoundError(`Cannot load the rewards in ${path}: there is no such file`);
  }
  try {
    const { module, exports } = await RewardModule.load(path);
    return { exports, reward: (name) => module.reward(name), end: () => module.end() };
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_UNKNOWN_FILE_EXTENSION") throw refuse(error);
  }
  // Node before 22.18 does not run TypeScript. tsx adds TypeScript only to the main thread.
  let loaded: Record<string, unknown>;
  try {
    loaded = await import(/* @vite-ignore */ pathToFileURL(path).href);
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_UNKNOWN_FILE_EXTENSION") throw refuse(error);
    throw new UnsupportedError(
      `Cannot load the rewards in ${path}: Node ${process.versions.node} does not run TypeScript. Use Node 22.18 or later, or Deno, or write the file as JavaScript (.mjs)`,
    );
  }
  notes.push(`${path} runs in the main thread here: Qwench cannot stop an endless function in it`);
  return {
    exports: Object.entries(loaded).map(([key, value]) => ({
      export: key,
      kind: typeof value,
      name: typeof value === "function" ? value.name : null,
    })),
    reward: (name) => loaded[name] as RewardFunction,
    end: async () => {},
  };
}
