import { proxy, wrap } from "comlink";
import type { Trainer } from "./client/types.ts";
import { installTransfers, type RemoteTrainer } from "./client/wire.ts";
import { QwenchError } from "./errors.ts";

export type * from "./client/types.ts";
export * from "./errors.ts";

/** Where a trainer finds its worker, the embedded model and the hub. */
export interface TrainerOptions {
  /** a worker that runs `qwench/trainer.worker.js`; default: a new one */
  worker?: Worker;
  /** where `trainer.worker.js` lies, at this origin or another; default: beside this module, as bundlers emit it */
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
 *
 * @throws {QwenchError} outside of a page, such as while a server renders it
 */
export function createTrainer(options: TrainerOptions = {}): Trainer {
  if (typeof document === "undefined" || typeof Worker === "undefined") {
    throw new QwenchError(
      "Cannot make a trainer here: createTrainer() needs a browser's page, and there is no document. Where a server " +
        "renders the page first, call it in the browser only, such as in useEffect or onMounted; a program in Node or " +
        'Deno imports "qwench" instead',
    );
  }
  installTransfers();
  const { worker, address } = options.worker
    ? { worker: options.worker, address: null }
    : startWorker(options.workerUrl);
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
    if (!began) die(`The trainer's worker did not start: ${event.message || notLoaded(address)}`);
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

/** @throws {QwenchError} where the address of the worker cannot be told */
function startWorker(url: string | URL | undefined): { worker: Worker; address: string } {
  let address = "";
  // Named as the class it extends: bundlers look for `new Worker(new URL(…, import.meta.url), …)`.
  class Worker extends globalThis.Worker {
    constructor(script: string | URL, options: WorkerOptions) {
      const absolute = new URL(script, document.baseURI);
      address = absolute.href;
      super(reachable(absolute), options);
    }
  }
  if (url !== undefined) return { worker: new Worker(url, { type: "module", name: "qwench" }), address };
  try {
    const worker = new Worker(new URL("../workers/trainer.worker.ts", import.meta.url), {
      type: "module",
      name: "qwench",
    });
    return { worker, address };
  } catch (error) {
    if (address) throw error;
    throw new QwenchError(
      `Cannot find the trainer's worker: this bundle does not know its own address, because it is no ES module. ${NAME_IT}`,
      { cause: error },
    );
  }
}

const NAME_IT =
  "Bundlers that emit no worker by themselves, such as esbuild and bun build, take qwench/trainer.worker.js as one more " +
  "entry; createTrainer({ workerUrl }) says where it lies";

/** Browsers do not say why a worker's script could not be loaded. */
function notLoaded(address: string | null): string {
  if (!address) return "its script could not be loaded";
  return `its script could not be loaded from ${address}. ${NAME_IT}`;
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
