import { NotFoundError } from "../../errors.ts";

/**
 * Python's files for a page, from a folder that holds those of the npm package pyodide. The two scripts are loaded as
 * modules, so that a policy without eval will do; it has to allow scripts from there, and `wasm-unsafe-eval`.
 *
 * @param base address of the folder, with a slash at its end
 * @throws {NotFoundError} a file that is not there
 */
export async function browserPythonFiles(base: string) {
  const get = async (name: string) => {
    const response = await fetch(new URL(name, base));
    if (!response.ok) {
      throw new NotFoundError(
        `Cannot run Python: ${new URL(name, base)} answers ${response.status}; the files of the npm package pyodide belong there`,
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
