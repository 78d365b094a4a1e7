import { browserPythonFiles } from "../../src/platform/browser/code.ts";
import { webThread } from "../../src/platform/browser/web-thread.ts";
import { CodePool } from "../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../src/rewards/code/sandbox-types.ts";
import type { RewardPlatform } from "../../src/session/rewards.ts";

/** The name of a worker that runs untrusted Python, and nothing else of this script. */
export const CODE_THREAD = "qwench-code";

/** Each holds up to `code_memory`, and the page wants a core for itself. */
const MOST_THREADS = 4;

/**
 * What a page brings to rewards: workers that run Python. They are this worker's own script once more, under another name:
 * one file to serve, wherever it came from. A judge wants a key, which a page cannot keep.
 *
 * @param assets address of the folder that holds `python/`: the files of the npm package pyodide
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
