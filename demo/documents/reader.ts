import { DataError } from "../../src/errors.ts";
import type { ReaderMessage, ReaderRequest } from "../../workers/documents.worker.ts";

/** A document that was read, with the hash and the number of its bytes. */
type Read = Omit<Extract<ReaderMessage, { kind: "read" }>, "kind">;

/** Milliseconds without any progress after which a document counts as one that hangs its parser. */
const QUIET_MS = 10_000;
/** The first document waits for its parser to load. */
const FIRST_MS = 60_000;

/** Reads files in a thread, one at a time. A parser that hangs is ended, and the next file gets a new thread. */
export class DocumentReader {
  #worker: Worker | null = null;
  /** whether the thread has read a document */
  #warm = false;

  /** @throws {DataError} the file cannot be read, or hangs its parser */
  read(file: File, onProgress: (done: number, total: number) => void): Promise<Read> {
    const worker = (this.#worker ??= startThread());
    return new Promise((resolve, reject) => {
      const settled = new AbortController();
      const { signal } = settled;
      const fail = (why: string) => {
        settled.abort();
        clearTimeout(timer);
        reject(new DataError(why));
      };
      const broken = (why: string) => {
        this.close();
        fail(`Cannot read ${file.name}: ${why}`);
      };
      const quiet = () => broken("its parser made no progress for too long");
      let timer = setTimeout(quiet, this.#warm ? QUIET_MS : FIRST_MS);
      const onMessage = ({ data }: MessageEvent<ReaderMessage>) => {
        if (data?.kind === "progress") {
          clearTimeout(timer);
          timer = setTimeout(quiet, QUIET_MS);
          onProgress(data.done, data.total);
        } else if (data?.kind === "read") {
          settled.abort();
          clearTimeout(timer);
          this.#warm = true;
          resolve(data);
        } else if (data?.kind === "failed") fail(data.message);
      };
      worker.addEventListener("message", onMessage, { signal });
      worker.addEventListener("error", (event) => broken(event.message || "its parser could not be loaded"), {
        signal,
      });
      worker.postMessage({ kind: "read", file } satisfies ReaderRequest);
    });
  }

  close(): void {
    this.#worker?.terminate();
    this.#worker = null;
    this.#warm = false;
  }
}

function startThread(): Worker {
  return new Worker(new URL("../../workers/documents.worker.ts", import.meta.url), {
    type: "module",
    name: "qwench-documents",
  });
}
