import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { ReadDocument, ReadOptions } from "../../data/documents/document.ts";
import { readDocument } from "../../data/documents/read.ts";
import { DataError } from "../../errors.ts";
import { runtimeName } from "../../platform/index.ts";
import { messageOf } from "../../text/show.ts";

/** Milliseconds without any progress after which a document counts as one that hangs its parser. */
const QUIET_MS = 10_000;
/** Limit of the thread's heap in MiB. */
const HEAP_MB = 400;
/**
 * Bytes that the process may grow by while a document is read, and more for each byte of the document: buffers are outside of the
 * heap, and a stream of a PDF file can unpack to gigabytes.
 */
const GROWTH = 330_000_000;
const GROWTH_PER_BYTE = 4;
/** Milliseconds between two looks at the memory. */
const LOOK_MS = 25;
const ROLE = "qwench-documents";

interface DocumentRequest extends Omit<ReadOptions, "onProgress"> {
  bytes: Uint8Array;
  source: string;
  type: string | null;
}

type Message =
  | { kind: "ready" }
  | { kind: "progress"; done: number; total: number }
  | { kind: "read"; document: ReadDocument }
  | { kind: "failed"; message: string };

/**
 * Reads documents in a thread of its own, one at a time: a parser that hangs or fills its memory is ended, and the next document
 * gets a new thread.
 */
export class DocumentThread {
  #worker: Worker | null = null;

  /**
   * @param bytes are moved to the thread
   * @throws {DataError} the document cannot be read, hangs its parser, or needs too much memory
   */
  async read(request: DocumentRequest, onProgress?: ReadOptions["onProgress"]): Promise<ReadDocument> {
    const worker = (this.#worker ??= await startThread());
    return new Promise((resolve, reject) => {
      const most = process.memoryUsage.rss() + GROWTH + GROWTH_PER_BYTE * request.bytes.length;
      const end = (settle: () => void) => {
        clearTimeout(timer);
        clearInterval(looks);
        for (const event of ["message", "error", "exit"]) worker.removeAllListeners(event);
        settle();
      };
      const broken = (why: string) => {
        this.#worker = null;
        void worker.terminate();
        end(() => reject(new DataError(`Cannot read ${request.source}: ${why}`)));
      };
      const quiet = () => broken(`its parser made no progress in ${QUIET_MS / 1000} s`);
      let timer = setTimeout(quiet, QUIET_MS);
      const looks = setInterval(() => {
        if (process.memoryUsage.rss() > most) broken(`its parser needs more than ${GROWTH / 1e6} MB of memory`);
      }, LOOK_MS);
      worker.on("message", (message: Message) => {
        if (message.kind === "progress") {
          clearTimeout(timer);
          timer = setTimeout(quiet, QUIET_MS);
          onProgress?.(message.done, message.total);
        } else if (message.kind === "read") end(() => resolve(message.document));
        else if (message.kind === "failed") end(() => reject(new DataError(message.message)));
      });
      worker.on("error", (error: Error & { code?: string }) => {
        const memory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
        broken(
          memory ? `its parser needs more than ${HEAP_MB} MB of memory` : `its parser failed (${messageOf(error)})`,
        );
      });
      worker.on("exit", () => broken("its parser ended"));
      worker.postMessage(request, [request.bytes.buffer as ArrayBuffer]);
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = null;
  }
}

/** Starts this module, or the built program that contains it, as a thread. */
async function startThread(): Promise<Worker> {
  const source = runtimeName() === "node" && import.meta.url.endsWith(".ts");
  const worker = new Worker(source ? loader() : new URL(import.meta.url), {
    eval: source,
    workerData: ROLE,
    env: {},
    execArgv: [],
    stdout: true, // parsers print warnings, and their own stack when a file breaks them
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  worker.stdout?.resume();
  worker.stderr?.resume();
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve());
    worker.once("error", reject);
  });
  worker.removeAllListeners("error");
  return worker;
}

/** A program that loads this file in a clone, whose sources Node cannot run by itself. */
function loader(): string {
  const manifest = createRequire(import.meta.url).resolve("tsx/package.json");
  const api = pathToFileURL(join(dirname(manifest), "dist/esm/api/index.mjs")).href;
  return `import(${JSON.stringify(api)}).then(({ register }) => { register(); return import(${JSON.stringify(import.meta.url)}); });`;
}

/** The thread's side. */
if (!isMainThread && workerData === ROLE) {
  const port = parentPort!;
  const post = (message: Message) => port.postMessage(message);
  port.on("message", async ({ bytes, source, ...options }: DocumentRequest) => {
    let told = 0;
    const onProgress = (done: number, total: number) => {
      if (Date.now() - told < 200) return;
      told = Date.now();
      post({ kind: "progress", done, total });
    };
    try {
      post({ kind: "read", document: await readDocument(bytes, source, { ...options, onProgress }) });
    } catch (error) {
      const message = messageOf(error);
      post({ kind: "failed", message: error instanceof DataError ? message : `Cannot read ${source}: ${message}` });
    }
  });
  post({ kind: "ready" });
}
