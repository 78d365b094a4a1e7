import { createHash } from "node:crypto";
import { join } from "node:path";
import { usualCache, writableCache } from "../../platform/node/cache-folder.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { TuningStore } from "../../session/tune.ts";

/**
 * Where measurements are kept on this machine: a file an adapter, in the user's cache. Where that cannot be written, in the
 * temporary folder; what the user's cache holds is read all the same.
 */
export function tuningStore(env: NodeJS.ProcessEnv = process.env): TuningStore {
  const usual = usualCache(env);
  const folders = [...new Set([writableCache(env), usual])].flatMap((cache) =>
    cache ? nodeFolder(join(cache, "tuning")) : [],
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
