import { NotFoundError } from "../../errors.ts";

/**
 * Python's files for a page, from a folder with the files of the npm package pyodide. The two scripts load as modules, so the
 * page's CSP need not allow eval. It must allow scripts from that folder, and `wasm-unsafe-eval`.
 *
 * @param base address of the folder, ending with a slash
 * @throws {NotFoundError} a file is missing
 */
export async function browserPythonFiles(base: string) {
  const get = async (name: string) => {
    const response = await fetch(new URL(name, base));
    if (!response.ok) {
      throw new NotFoundError(
        `Cannot run Python: ${new URL(name, base)} answered ${response.status}; put the files of the npm package pyodide there`,
      );
    }
    return response;
  };
  const [wasm, stdlib, lock] = await Promise.all([
    get("pyodide.asm.wasm").then(async (response) => WebAssembly.compile(await response.arrayBuffer())),
    get("python_stdlib.zip").then(async (response) => new Uint8Array(await response.arrayBuffer())),
    get("pyodide-lock.json").then((response) => response.text()),
  ]);
  return {
    scripts: { urls: ["pyodide.asm.js", "pyodide.js"].map((name) => new URL(name, base).href) },
    wasm,
    stdlib,
    lock,
  };
}
