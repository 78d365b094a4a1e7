import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { NotFoundError } from "../../errors.ts";
import { type Thread, webThread } from "../browser/web-thread.ts";
import { runtimeName } from "../index.ts";

/** Heap limit for the thread's JavaScript objects. Python's memory is outside this heap. */
const HEAP_MB = 256;

/**
 * Starts a thread whose program is a function's source text, which works in a bundle, under tsx and in Deno. The thread calls
 * the function with `{ post(reply), listen(handler) }`. It has no environment variables, and keeps the process alive only until
 * it has replied.
 */
export function textThread<Request, Reply>(program: string): Thread<Request, Reply> {
  const url = (text: string) => new URL(`data:text/javascript,${encodeURIComponent(text)}`);
  // esbuild, and therefore tsx, inserts calls to a helper that the thread lacks
  const named = "globalThis.__name = (named) => named;";
  if (runtimeName() === "deno") {
    // Deno's worker_threads lose messages of 16 MB
    const port = `{ post: self.postMessage.bind(self), listen: (handler) => self.addEventListener("message", ({ data }) => handler(data)) }`;
    return webThread(new globalThis.Worker(url(`${named} (${program})(${port});`), { type: "module" }));
  }
  const port = `{ post: (reply) => port.postMessage(reply), listen: (handler) => port.on("message", handler) }`;
  const text = `import { parentPort as port } from "node:worker_threads"; ${named} (${program})(${port});`;
  const worker = new Worker(url(text), { env: {}, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
  worker.unref();
  return {
    post(request) {
      worker.ref();
      worker.postMessage(request);
    },
    onReply(handler) {
      worker.on("message", (reply: Reply) => {
        worker.unref();
        handler(reply);
      });
    },
    onEnd(handler) {
      let ended = false;
      const once = (reason: string, memory: boolean) => {
        if (!ended) handler({ reason, memory });
        ended = true;
      };
      worker.on("error", (error: Error & { code?: string }) => {
        once(`${error.name}: ${error.message}`, error.code === "ERR_WORKER_OUT_OF_MEMORY");
      });
      worker.on("exit", (code) => once(`exit code ${code}`, false));
    },
    async end() {
      await worker.terminate();
    },
  };
}

/**
 * Python's files, from the npm package pyodide.
 *
 * @throws {NotFoundError} if the package is not installed
 */
export async function pythonFiles() {
  const require = createRequire(import.meta.url);
  const path = (name: string) => {
    try {
      return require.resolve(`pyodide/${name}`);
    } catch (error) {
      throw new NotFoundError("Cannot run Python: the npm package pyodide is not installed; run npm install pyodide", {
        cause: error,
      });
    }
  };
  const [asm, loader, lock] = await Promise.all(
    ["pyodide.asm.js", "pyodide.js", "pyodide-lock.json"].map((name) => readFile(path(name), "utf8")),
  );
  const [wasm, stdlib] = await Promise.all(
    ["pyodide.asm.wasm", "python_stdlib.zip"].map((name) => readFile(path(name))),
  );
  return {
    scripts: { text: [asm, loader] },
    wasm: await WebAssembly.compile(wasm),
    stdlib: new Uint8Array(stdlib),
    lock,
  };
}
