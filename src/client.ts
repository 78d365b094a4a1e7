import { proxy, wrap } from "comlink";
import type { Trainer } from "./client/types.ts";
import { installTransfers, type RemoteTrainer } from "./client/wire.ts";
import { QwenchError } from "./errors.ts";

export type * from "./client/types.ts";
export * from "./errors.ts";

/** Where a trainer finds its worker, the embedded model and the hub. */
export interface TrainerOptions {
  /** a worker that runs `trainer.worker.js`; default: a new one */
  worker?: Worker;
  /** where `trainer.worker.js` lies, at this origin or another; default: beside this module */
  workerUrl?: string | URL;
  /** the folder that holds `tiny/`, the embedded model; default: the page's own */
  assets?: string | URL;
  /** root of a mirror of the hub; default: https://huggingface.co */
  hubUrl?: string;
  /** access token for gated models of the hub; sent to the hub only, and never stored */
  token?: string;
}

/**
 * A trainer in a worker of its own. The worker starts at once and opens the GPU when it is first needed.
 *
 * Every call fails with `QwenchError` once the worker has died, and never hangs; `lost` says so.
 */
export function createTrainer(options: TrainerOptions = {}): Trainer {
  installTransfers();
  const worker = options.worker ?? startWorker(options.workerUrl);
  const remote = wrap(worker) as unknown as RemoteTrainer;
  let onLost: (why: string) => void = () => {};
  const lost = new Promise<string>((resolve) => (onLost = resolve));
  let onEnd: (error: Error) => void = () => {};
  const ended = new Promise<never>((_, reject) => (onEnd = reject));
  ended.catch(() => {}); // each call looks at it
  const die = (why: string) => {
    onLost(why);
    onEnd(new QwenchError(why));
  };

  let began = false;
  worker.addEventListener("error", (event) => {
    if (!began) die(`The trainer's worker did not start: ${event.message || "its script could not be loaded"}`);
  });
  const ready = begin(remote, options, onLost, die).then(() => {
    began = true;
  });
  ready.catch((error: Error) => die(`The trainer's worker did not start: ${error.message}`));

  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    await Promise.race([ready, ended]);
    return Promise.race([work(), ended]);
  };
  async function* stream<T>(open: () => Promise<AsyncIterable<T>>): AsyncGenerator<T> {
    const iterator = (await call(open))[Symbol.asyncIterator]();
    let done = false;
    try {
      for (;;) {
        const result = await call(() => iterator.next());
        if (result.done) {
          done = true;
          return;
        }
        yield result.value;
      }
    } catch (error) {
      done = true;
      throw error;
    } finally {
      if (!done) await call(() => iterator.return!());
    }
  }

  return {
    device: () => call(() => remote.device()),
    recipe: {
      fields: (method) => call(() => remote.recipe.fields(method)),
      presets: () => call(() => remote.recipe.presets()),
      parse: (input, method) => call(() => remote.recipe.parse(input, method)),
      format: (recipe, method) => call(() => remote.recipe.format(recipe, method)),
    },
    data: { preview: (source) => call(() => remote.data.preview(source)) },
    storage: {
      usage: () => call(() => remote.storage.usage()),
      // only pages may ask: browsers answer by what the user did with the site, and may put a question
      persist: async () => (await navigator.storage?.persist?.()) ?? false,
      remove: (id) => call(() => remote.storage.remove(id)),
    },
    download: (source, asked) => stream(() => remote.download(source, asked)),
    plan: (job, asked) => call(() => remote.plan(job, asked)),
    runs: {
      list: () => call(() => remote.runs.list()),
      get: (id) => call(() => remote.runs.get(id)),
      remove: (id) => call(() => remote.runs.remove(id)),
      rename: (id, name) => call(() => remote.runs.rename(id, name)),
      create: (job) => call(() => remote.runs.create(job)),
      start: (id, asked) => stream(() => remote.runs.start(id, asked)),
      stop: (id) => call(() => remote.runs.stop(id)),
    },
    chat: (request, asked) => stream(() => remote.chat(request, asked)),
    export: (run, kind, asked) => call(() => remote.export(run, kind, asked)),
    terminate() {
      worker.terminate();
      die("The trainer's worker was ended");
    },
    lost,
  };
}

function startWorker(url: string | URL | undefined): Worker {
  // Named as the class it extends: bundlers look for `new Worker(new URL(…, import.meta.url), …)`.
  class Worker extends globalThis.Worker {
    constructor(script: string | URL, options: WorkerOptions) {
      super(reachable(new URL(script, document.baseURI)), options);
    }
  }
  if (url !== undefined) return new Worker(url, { type: "module", name: "qwench" });
  return new Worker(new URL("../workers/trainer.worker.ts", import.meta.url), { type: "module", name: "qwench" });
}

/** Browsers start no worker from another origin, such as a CDN; a script of the page's own may import it all the same. */
function reachable(script: URL): URL | string {
  const near = script.origin === location.origin || script.protocol === "blob:" || script.protocol === "data:";
  if (near) return script;
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(script.href)};`], { type: "text/javascript" }));
}

/** Tells the worker where things are; then waits, by a lock that only its death releases, for its end. */
async function begin(
  remote: RemoteTrainer,
  { assets, hubUrl, token }: TrainerOptions,
  onLost: (why: string) => void,
  die: (why: string) => void,
): Promise<void> {
  const folder = new URL(assets ?? ".", document.baseURI).href;
  const lock = `qwench-worker-${Date.now()}-${Math.random()}`;
  await remote.begin(
    { assets: folder.endsWith("/") ? folder : `${folder}/`, hubUrl: hubUrl ?? null, token: token ?? null, lock },
    proxy(onLost),
  );
  // absent where the page is not secure; there is no WebGPU either, and `device` says so
  void navigator.locks?.request(lock, () =>
    die("The trainer's worker has died: the browser ended it, or ran out of memory"),
  );
}
