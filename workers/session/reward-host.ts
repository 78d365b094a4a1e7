import { browserPythonFiles } from "../../src/platform/browser/code.ts";
import { webThread } from "../../src/platform/browser/web-thread.ts";
import { type CodeLimits, CodePool } from "../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../src/rewards/code/sandbox-types.ts";
import type { RewardHost } from "../../src/rewards/registry.ts";

/** The name of a worker that runs untrusted Python, and nothing else of this script. */
export const CODE_THREAD = "qwench-code";

/** Each holds up to `code_memory`, and the page wants a core for itself. */
const MOST_THREADS = 4;

/**
 * What a page brings to rewards: workers that run Python. They are this worker's own script once more, under another name:
 * one file to serve, wherever it came from. A judge wants a key, which a page cannot keep.
 */
export class PageRewardHost implements RewardHost {
  readonly #assets: string;
  #pool: CodePool | null = null;

  /** @param assets address of the folder that holds `python/`: the files of the npm package pyodide */
  constructor(assets: string) {
    this.#assets = assets;
  }

  code(limits: Partial<CodeLimits>): CodePool {
    const python = new URL("python/", this.#assets).href;
    const platform = {
      files: () => browserPythonFiles(python),
      thread: () =>
        webThread<SandboxRequest, SandboxReply>(new Worker(self.location.href, { type: "module", name: CODE_THREAD })),
      threads: Math.max(1, Math.min(MOST_THREADS, (navigator.hardwareConcurrency ?? 2) - 1)),
    };
    return (this.#pool ??= new CodePool(platform, limits)); // one recipe, so the same limits
  }

  async end(): Promise<void> {
    await this.#pool?.end();
  }
}
