import { browserPythonFiles } from "../../src/platform/browser/code.ts";
import { webThread } from "../../src/platform/browser/web-thread.ts";
import { CodePool } from "../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../src/rewards/code/sandbox-types.ts";
import type { RewardPlatform } from "../../src/session/rewards.ts";

/** The name of a worker in which this script only runs untrusted Python. */
export const CODE_THREAD = "qwench-code";

/** Most Python workers: each takes up to `code_memory`, and one core stays free for the page. */
const MOST_THREADS = 4;

/**
 * What a page provides for rewards: workers that run Python. They run this worker's own script under another name, so there is
 * only one file to serve. There is no judge, because a page cannot keep a key.
 *
 * @param assets address of the folder that holds `python/`, the files of the npm package pyodide
 */
export function rewardPlatform(assets: string): RewardPlatform {
  const python = new URL("python/", assets).href;
  return {
    openCodePool: (limits) =>
      new CodePool(
        {
          files: () => browserPythonFiles(python),
          thread: () =>
            webThread<SandboxRequest, SandboxReply>(
              new Worker(self.location.href, { type: "module", name: CODE_THREAD }),
            ),
          threads: Math.max(1, Math.min(MOST_THREADS, (navigator.hardwareConcurrency ?? 2) - 1)),
        },
        limits,
      ),
  };
}
