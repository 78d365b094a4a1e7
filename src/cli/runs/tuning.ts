import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { TuningStore } from "../../session/tune.ts";

/** Where measurements are kept on this machine: a file an adapter, in the user's cache. */
export function tuningStore(env: NodeJS.ProcessEnv = process.env): TuningStore {
  const folder = nodeFolder(join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "qwench", "tuning"));
  const fileOf = (adapter: string) => `${createHash("sha256").update(adapter).digest("hex").slice(0, 16)}.json`;
  return {
    read: async (adapter) => ((await folder.exists(fileOf(adapter))) ? folder.readText(fileOf(adapter)) : null),
    write: (adapter, text) => folder.write(fileOf(adapter), text),
  };
}
