import type { JudgeAccess, RewardSandbox, RewardSource } from "../../src/client/types.ts";
import { NotFoundError, UnsupportedError } from "../../src/errors.ts";
import { browserPythonFiles } from "../../src/platform/browser/code.ts";
import { webThread } from "../../src/platform/browser/web-thread.ts";
import { CodePool } from "../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../src/rewards/code/sandbox-types.ts";
import { type ModuleExport, moduleEntry, pickReward } from "../../src/session/reward-modules.ts";
import type { JudgePlatform, RewardModules, RewardPlatform } from "../../src/session/rewards.ts";

/** The name of a worker in which this script only runs untrusted Python. */
export const CODE_THREAD = "qwench-code";

/** Most Python workers: each takes up to `code_memory`, and one core stays free for the page. */
const MOST_THREADS = 4;
/** Milliseconds before retrying a judge. */
const BACKOFF_MS = 1000;

/** How a page reaches a judge. */
export function judgePlatform(key: string | null): JudgePlatform {
  return {
    key,
    fetch: (input, init) => fetch(input, init), // must be called on the worker
    backoff_ms: BACKOFF_MS,
    names: { service: "judge", url: "judge_url", key: "the field Key of the judge" },
    openCache: () => {
      throw new UnsupportedError("judge_cache is a folder, which a page does not have: leave it out");
    },
  };
}

/** What a page provides for rewards: workers that run Python, the user's modules in the page's sandbox, and a judge. */
export class RewardDesk {
  private readonly assets: string;
  private readonly sandbox: RewardSandbox | null;
  /** the key for the present run's judge; in memory only */
  judge: JudgeAccess | null = null;

  /** @param assets address of the folder that holds `python/`, the files of the npm package pyodide */
  constructor(assets: string, sandbox: RewardSandbox | null) {
    this.assets = assets;
    this.sandbox = sandbox;
  }

  /**
   * Python's workers run this worker's own script under another name, so there is only one file to serve.
   *
   * @param sources the user's modules that the phase may name
   * @param judge_url the recipe's: a key for another address is not used
   */
  platform(sources: readonly RewardSource[], judge_url: string | null): RewardPlatform {
    const python = new URL("python/", this.assets).href;
    const thread = () => new Worker(self.location.href, { type: "module", name: CODE_THREAD });
    return {
      openCodePool: (limits) =>
        new CodePool(
          {
            files: () => browserPythonFiles(python),
            thread: () => webThread<SandboxRequest, SandboxReply>(thread()),
            threads: Math.max(1, Math.min(MOST_THREADS, (navigator.hardwareConcurrency ?? 2) - 1)),
          },
          limits,
        ),
      judge: judgePlatform(this.judge !== null && this.judge.url === judge_url ? this.judge.key : null),
      ...(sources.length > 0 && { modules: this.modules(sources) }),
    };
  }

  private modules(sources: readonly RewardSource[]): RewardModules {
    const { sandbox } = this;
    if (!sandbox) {
      const names = sources.map(({ name }) => name).join(", ");
      throw new UnsupportedError(
        `Cannot use the rewards in ${names}: this page has no sandbox for them; give createTrainer() rewards`,
      );
    }
    const opened = new Map<string, { id: number; exports: ModuleExport[] }>();
    return {
      async open(entry) {
        const found = moduleEntry(entry);
        if (!found) return null;
        const name = found.path.replace(/^\.\//, "");
        const source = sources.find((one) => one.name === name);
        if (!source) {
          const known = sources.map((one) => `./${one.name}`).join(", ");
          throw new NotFoundError(`Cannot use reward_funcs ${entry}: this run has no such module; it has ${known}`);
        }
        const module = opened.get(name) ?? (await sandbox.open(source));
        opened.set(name, module);
        return pickReward(entry, found, module.exports, (own) => (prompts, completions, columns, context) => {
          const { signal, step, completion_ids } = context;
          const ids = completion_ids?.map((list) => Array.from(list)) ?? null;
          const input = { prompts, completions, columns, step, completion_ids: ids };
          return sandbox.call(module.id, own, input, { signal }) as Promise<(number | null)[]>;
        });
      },
      notes: () => [],
      async end() {
        for (const { id } of opened.values()) await sandbox.end(id);
        opened.clear();
      },
    };
  }
}
