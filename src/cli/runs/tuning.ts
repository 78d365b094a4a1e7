import { createHash } from "node:crypto";
import { join } from "node:path";
import { usualCache, writableCache } from "../../platform/node/cache-folder.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { TuningStore } from "../../session/tune.ts";

/**
 * The store of measurements on this machine: one file per adapter in the user's cache. If the cache is not writable, new
 * measurements go to the temporary folder, and the cache is still read.
 */
export function tuningStore(env: NodeJS.ProcessEnv = process.env): TuningStore {
  return storeIn("tuning", env);
}

/** What adapters of this machine were measured at for time forecasts, and what earlier runs took, stored in the same way. */
export function timesStore(env: NodeJS.ProcessEnv = process.env): TuningStore {
  return storeIn("times", env);
}

function storeIn(name: string, env: NodeJS.ProcessEnv): TuningStore {
  const usual = usualCache(env);
  const folders = [...new Set([writableCache(env), usual])].flatMap((cache) =>
    cache ? nodeFolder(join(cache, name)) : [],
  );
  const fileOf = (adapter: string) => `${createHash("sha256").update(adapter).digest("hex").slice(0, 16)}.json`;
  return {
    async read(adapter) {
      for (const folder of folders) {
        if (await folder.exists(fileOf(adapter)).catch(() => false)) return folder.readText(fileOf(adapter));
      }
      return null;
    },
    write: (adapter, text) => folders[0].write(fileOf(adapter), text),
  };
}
