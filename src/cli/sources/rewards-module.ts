import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { TrainingError } from "../../errors.ts";
import type { RewardContext, RewardFunction, Turn } from "../../rewards/reward.ts";
import type { ModuleExport } from "../../session/reward-modules.ts";

// The thread's program is text, so that it works in a bundle, under tsx and in Deno. It must stay plain JavaScript.
const PROGRAM = `
import { parentPort, workerData } from "node:worker_threads";
const told = (error) => error instanceof Error
  ? { name: error.name, message: error.message, code: error.code, stack: error.stack }
  : { name: "Error", message: "it threw " + String(error) };
const running = new Map();
let loaded = null;
try {
  loaded = await import(workerData);
  parentPort.postMessage({ id: 0, result: Object.entries(loaded).map(([key, value]) => (
    { export: key, kind: typeof value, name: typeof value === "function" ? value.name : null })) });
} catch (error) {
  parentPort.postMessage({ id: 0, error: told(error) });
}
parentPort.on("message", async ({ id, abort, name, value, args, prompts, completions, columns, step, completion_ids }) => {
  if (abort) return running.get(id)?.abort();
  const own = new AbortController();
  running.set(id, own);
  try {
    const result = value ? loaded[name] : args ? await loaded[name](args) : await loaded[name](prompts, completions, columns, { step, completion_ids, signal: own.signal });
    parentPort.postMessage({ id, result });
  } catch (error) {
    parentPort.postMessage({ id, error: told(error) });
  } finally {
    running.delete(id);
  }
});
`;

/** Milliseconds for a function to stop by itself after its signal was aborted. */
const GRACE = 1000;

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * A user's module in its own thread. An endless function blocks neither Ctrl-C nor its time limit, after which the thread is
 * terminated.
 */
export class RewardModule {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #calls = 0;
  #ended: Error | null = null;

  /** Use `RewardModule.load` instead. */
  private constructor(path: string) {
    this.#worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(PROGRAM)}`), {
      workerData: pathToFileURL(path).href,
    });
    this.#worker.unref();
    this.#worker.on("message", ({ id, result, error }) => {
      const pending = this.#pending.get(id);
      this.#settle(id);
      if (error) pending?.reject(Object.assign(new Error(error.message), error));
      else pending?.resolve(result);
    });
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new TrainingError(`${path} ended its thread, with code ${code}`)));
  }

  /** Evaluates a module. @throws what evaluating it threw, `code` included */
  static async load(path: string): Promise<{ module: RewardModule; exports: ModuleExport[] }> {
    const module = new RewardModule(path);
    try {
      return { module, exports: (await module.#wait(0)) as ModuleExport[] };
    } catch (error) {
      await module.end();
      throw error;
    }
  }

  /** The export of that name, as a reward function for the main thread. */
  reward(name: string): RewardFunction {
    return async (prompts, completions, columns, context) =>
      (await this.#call(name, prompts, completions, columns, context)) as (number | null)[];
  }

  /** The value of an export that can be copied between threads. */
  async value(name: string): Promise<unknown> {
    return this.#ask({ name, value: true });
  }

  /** Calls an export with an object of arguments. */
  async call(name: string, args: Record<string, unknown>): Promise<unknown> {
    return this.#ask({ name, args });
  }

  async #ask(message: Record<string, unknown>): Promise<unknown> {
    if (this.#ended) throw this.#ended;
    const id = ++this.#calls;
    this.#worker.postMessage({ id, ...message });
    return this.#wait(id);
  }

  /** Terminates the thread. */
  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  async #call(
    name: string,
    prompts: readonly Turn[],
    completions: readonly Turn[],
    columns: Readonly<Record<string, readonly unknown[]>>,
    { signal, ...known }: RewardContext,
  ): Promise<unknown> {
    if (this.#ended) throw this.#ended;
    const id = ++this.#calls;
    const onAbort = () => {
      this.#worker.postMessage({ id, abort: true });
      setTimeout(() => this.#pending.has(id) && void this.end(), GRACE).unref();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.#worker.postMessage({ id, name, prompts, completions, columns, ...known });
      return await this.#wait(id);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #wait(id: number): Promise<unknown> {
    this.#worker.ref(); // a caller is waiting, so keep the process alive
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #settle(id: number): void {
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker.unref();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const [id, { reject }] of this.#pending) {
      this.#settle(id);
      reject(this.#ended);
    }
  }
}
