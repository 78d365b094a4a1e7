import { proxy, wrap } from "comlink";
import type { RewardSandbox, Trainer } from "./client/types.ts";
import { installTransfers, type RemoteTrainer } from "./client/wire.ts";
import { QwenchError } from "./errors.ts";

export type * from "./client/types.ts";
export * from "./errors.ts";

/** Where a trainer finds its worker, the embedded model and the hub. */
export interface TrainerOptions {
  /** a worker that runs `qwench/trainer.worker.js`; default: a new one */
  worker?: Worker;
  /** address of `trainer.worker.js`, at this origin or another; default: beside this module, where bundlers put it */
  workerUrl?: string | URL;
  /** the folder that holds `tiny/`, the embedded model; default: the page's own */
  assets?: string | URL;
  /** root of a mirror of the hub; default: https://huggingface.co */
  hubUrl?: string;
  /** access token for gated models; sent to the hub only, never stored */
  token?: string;
  /** runs the user's own reward modules; default: a job cannot have any */
  rewards?: RewardSandbox;
}

/**
 * Creates a trainer in its own worker. The worker starts immediately and opens the GPU on first use.
 *
 * After the worker dies, every call fails with `QwenchError` and none hangs; `lost` resolves.
 *
 * @throws {QwenchError} outside a browser page, such as during server-side rendering
 */
export function createTrainer(options: TrainerOptions = {}): Trainer {
  if (typeof document === "undefined" || typeof Worker === "undefined") {
    throw new QwenchError(
      "Cannot make a trainer here: createTrainer() needs a browser page, and there is no document. With server-side " +
        "rendering, call it in the browser only, such as in useEffect or onMounted. A program in Node or " +
        'Deno imports "qwench" instead.',
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
  ended.catch(() => {}); // every call checks it
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
    data: {
      preview: (source) => call(() => remote.data.preview(source)),
      see: (source, as) => call(() => remote.data.see(source, as)),
      fetch: (url) => call(() => remote.data.fetch(url)),
      rewardRows: (source, recipe, count) => call(() => remote.data.rewardRows(source, recipe, count)),
      tryJudge: (fields, question) => call(() => remote.data.tryJudge(fields, question)),
    },
    documents: {
      list: () => call(() => remote.documents.list()),
      add: (document, file) => call(() => remote.documents.add(document, file)),
      remove: (name) => call(() => remote.documents.remove(name)),
      chunks: (name, writer, sizes) => call(() => remote.documents.chunks(name, writer, sizes)),
      make: (request, asked) => stream(() => remote.documents.make(request, asked)),
      curate: (request, asked) => stream(() => remote.documents.curate(request, asked)),
      change: (chunk, pair, to) => call(() => remote.documents.change(chunk, pair, to)),
      rows: (metadata) => call(() => remote.documents.rows(metadata)),
    },
    storage: {
      usage: () => call(() => remote.storage.usage()),
      // only a page may request persistence: browsers decide by the user's engagement with the site, and may prompt
      persist: async () => (await navigator.storage?.persist?.()) ?? false,
      remove: (id) => call(() => remote.storage.remove(id)),
    },
    download: (source, asked) => stream(() => remote.download(source, asked)),
    plan: (job, asked) => call(() => remote.plan(job, asked)),
    forecast: (job, asked) => stream(() => remote.forecast(job, asked)),
    runs: {
      list: () => call(() => remote.runs.list()),
      get: (id) => call(() => remote.runs.get(id)),
      remove: (id) => call(() => remote.runs.remove(id)),
      rename: (id, name) => call(() => remote.runs.rename(id, name)),
      create: (job) => call(() => remote.runs.create(job)),
      start: (id, asked) => stream(() => remote.runs.start(id, asked)),
      stop: (id) => call(() => remote.runs.stop(id)),
      checkpoints: (id) => call(() => remote.runs.checkpoints(id)),
      pack: (id) => call(() => remote.runs.pack(id)),
      unpack: (file) => call(() => remote.runs.unpack(file)),
      read: (files) => call(() => remote.runs.read(files)),
      saved: (id) => call(() => remote.runs.saved(id)),
      evaluate: (id, asked) => stream(() => remote.runs.evaluate(id, asked)),
    },
    chat: (request, asked) => stream(() => remote.chat(request, asked)),
    export: (run, kind, asked) => call(() => remote.export(run, kind, asked)),
    push: (run, request, asked) => stream(() => remote.push(run, request, asked)),
    signIn: (token) => call(() => remote.signIn(token)),
    terminate() {
      worker.terminate();
      die("The trainer's worker was terminated");
    },
    lost,
  };
}

/** @throws {QwenchError} if the worker's address is unknown */
function startWorker(url: string | URL | undefined): { worker: Worker; address: string } {
  let address = "";
  // The name shadows the global class because bundlers look for `new Worker(new URL(…, import.meta.url), …)`.
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
      `Cannot find the trainer's worker: this bundle is not an ES module, so it does not know its own address. ${NAME_IT}`,
      { cause: error },
    );
  }
}

const NAME_IT =
  "Some bundlers, such as esbuild and bun build, do not emit workers. Give them qwench/trainer.worker.js as another " +
  "entry point, and pass the built file's address as createTrainer({ workerUrl })";

/** Browsers give no reason when a worker's script fails to load. */
function notLoaded(address: string | null): string {
  if (!address) return "its script could not be loaded";
  return `its script could not be loaded from ${address}. ${NAME_IT}`;
}

/**
 * Browsers refuse to start a worker from another origin, such as a CDN. A script of the page's own origin may still import it.
 */
function reachable(script: URL): URL | string {
  const near = script.origin === location.origin || script.protocol === "blob:" || script.protocol === "data:";
  if (near) return script;
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(script.href)};`], { type: "text/javascript" }));
}

/** Sends the worker its addresses, then waits for a Web Lock that the worker holds until it dies. */
async function begin(
  remote: RemoteTrainer,
  { assets, hubUrl, token, rewards }: TrainerOptions,
  onLost: (why: string) => void,
  die: (why: string) => void,
): Promise<void> {
  const folder = new URL(assets ?? ".", document.baseURI).href;
  const lock = `qwench-worker-${Date.now()}-${Math.random()}`;
  await remote.begin(
    { assets: folder.endsWith("/") ? folder : `${folder}/`, hubUrl: hubUrl ?? null, token: token ?? null, lock },
    proxy(onLost),
    rewards ? proxy(rewards) : null,
  );
  // absent in an insecure context, which has no WebGPU either; `device` reports that
  void navigator.locks?.request(lock, () =>
    die("The trainer's worker has died: the browser ended it, or ran out of memory"),
  );
}
