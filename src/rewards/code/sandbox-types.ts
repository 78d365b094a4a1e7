/** The files that Python needs to start, from the npm package `pyodide`. */
export interface PythonFiles {
  /** `pyodide.asm.js` and `pyodide.js`: as text, or as module URLs if a page's policy forbids eval */
  scripts: { text: readonly string[] } | { urls: readonly string[] };
  wasm: WebAssembly.Module;
  /** `python_stdlib.zip` */
  stdlib: Uint8Array;
  /** `pyodide-lock.json` */
  lock: string;
}

interface SandboxLimits {
  /** limit of Python's heap, bytes; at least 64 MiB */
  memory_bytes: number;
  /** limits of one run's output and of its files, bytes */
  output_bytes: number;
}

/** Code that tests a program. */
interface SandboxTest {
  code: string;
  /** code of the task, run before the test; "" for none */
  given: string;
  /** the name that the test takes from the program; null if any name of the test may be the program's */
  entry: string | null;
  /** returned with the verdict of a test that has run */
  secret: string;
}

/** One run of a program, from a clean state. */
export interface SandboxJob {
  code: string;
  /** the module's `__name__` */
  name: string;
  /** runs before the program, in its namespace; "" for none */
  prelude: string;
  stdin: string;
  /** a function, or a method of the class Solution, to call after the program; null for none */
  call: string | null;
  /** arguments of the call: a JSON array as text */
  args: string;
  /** test to run after the program, out of its reach; null for none */
  test: SandboxTest | null;
  /** time limit: the sandbox ends the run if it can, else its owner does */
  ms: number;
}

export interface SandboxReport {
  ms: number;
  /** the harness's report on the program, JSON; null if the interpreter crashed before that */
  answer: string | null;
  /** the harness's report on the test, JSON; null if there was no test */
  verdict: string | null;
  /** the reason of a crash */
  crash: string | null;
  stdout: string;
  /** output or files exceeded the limit */
  overflow: boolean;
  /** memory exceeded the limit */
  starved: boolean;
}

/** Python's state after start-up: a second thread starts from it in a tenth of the time. */
export interface SandboxState {
  /** all of its memory */
  heap: Uint8Array;
  /** address of the harness's function */
  entry: number;
  /** must match for the memory to be valid: the length of the function table, and an entry created during start-up */
  table: number;
  trampoline: number;
}

export type SandboxRequest =
  | { type: "boot"; files: PythonFiles; harness: string; limits: SandboxLimits; state: SandboxState | null }
  | { type: "run"; job: SandboxJob };

export type SandboxReply =
  | { type: "ready"; state: SandboxState }
  | { type: "failed"; message: string }
  /** `fit`: whether the thread can run another job; otherwise it must be replaced */
  | { type: "done"; report: SandboxReport; fit: boolean };

export interface SandboxPort {
  post(reply: SandboxReply): void;
  listen(handler: (request: SandboxRequest) => void): void;
}

/** The Emscripten structures that the sandbox uses. */
export interface FileNode {
  name: string;
  mode: number;
  mount: unknown;
  mtime: number;
  link?: string;
  usedBytes?: number;
  contents?: Uint8Array | Record<string, FileNode> | null;
}

interface FileStream {
  fd: number;
  node: FileNode;
}

/** Reads into, or writes from, `buffer[offset, offset + length)`. @returns the number of bytes */
export type FileAccess = (
  stream: FileStream,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => number;

export interface PythonModule {
  wasmTable: WebAssembly.Table;
  _PyEM_CountArgsPtr: number;
  _Py_EMSCRIPTEN_SIGNAL_HANDLING: number;
  HEAP8: Int8Array;
  /** @returns 0 if the call raised */
  _PyObject_CallNoArgs(address: number): number;
  /** @returns the argument for `_PyGILState_Release` */
  _PyGILState_Ensure(): number;
  _PyGILState_Release(state: number): void;
  stackSave(): number;
  FS: {
    root: FileNode;
    currentPath: string;
    nextInode: number;
    streams: (FileStream | null)[];
    filesystems: {
      MEMFS: {
        createNode(parent: FileNode, name: string, mode: number, device: number): FileNode;
        ops_table: { file: { stream: { write: FileAccess } } };
        resizeFileStorage(node: FileNode, size: number): void;
      };
    };
    ErrnoError: new (code: number) => Error;
    makedev(major: number, minor: number): number;
    registerDevice(device: number, operations: object): void;
    mkdev(path: string, mode: number, device: number): void;
    unlink(path: string): void;
    symlink(target: string, path: string): void;
    rename(from: string, to: string): void;
    open(path: string, flags: string): FileStream;
    close(stream: FileStream): void;
    isDir(mode: number): boolean;
  };
}

export interface Pyodide {
  _module: PythonModule;
  globals: { get(name: "dict"): () => unknown };
  runPython(code: string, options: { globals: unknown }): unknown;
}
