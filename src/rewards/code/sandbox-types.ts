/** What a runtime must bring for Python to start: files of the npm package `pyodide`. */
export interface PythonFiles {
  /** `pyodide.asm.js` and `pyodide.js`: as text, or as the URLs of modules where a page's policy forbids eval */
  scripts: { text: readonly string[] } | { urls: readonly string[] };
  wasm: WebAssembly.Module;
  /** `python_stdlib.zip` */
  stdlib: Uint8Array;
  /** `pyodide-lock.json` */
  lock: string;
}

export interface SandboxLimits {
  /** most that Python's heap may grow to, bytes; at least 64 MiB */
  memory_bytes: number;
  /** most that one run may print, bytes, and most that it may write into files */
  output_bytes: number;
}

/** Code that tests a program. */
export interface SandboxTest {
  code: string;
  /** code that the task gives, run before the test; "" for none */
  given: string;
  /** the name that the test asks the program for; null where any of the test's names may be the program's */
  entry: string | null;
  /** comes back with the verdict of a test that has run */
  secret: string;
}

/** One run of a program, from a state in which nothing has run before. */
export interface SandboxJob {
  code: string;
  /** the module's `__name__` */
  name: string;
  /** runs before the program, in its namespace; "" for none */
  prelude: string;
  stdin: string;
  /** a function, or a method of the class Solution, to call afterwards; null for none */
  call: string | null;
  /** its arguments: a JSON array as text */
  args: string;
  /** to run afterwards where the program cannot reach; null for none */
  test: SandboxTest | null;
  /** how long it may run: the sandbox ends it then where it can, and its owner where it cannot */
  ms: number;
}

export interface SandboxReport {
  ms: number;
  /** what the harness said of the program, JSON; null where the interpreter broke down before it could */
  answer: string | null;
  /** what the harness said of the test, JSON; null where there was none */
  verdict: string | null;
  /** why it broke down */
  crash: string | null;
  stdout: string;
  /** it printed, or wrote into files, more than it may */
  overflow: boolean;
  /** it asked for more memory than it may have */
  starved: boolean;
}

/** Python as it is once it has started: a second thread goes on from here, at a tenth of the time. */
export interface SandboxState {
  /** all of its memory */
  heap: Uint8Array;
  /** address of the harness's function */
  entry: number;
  /** what else must be alike for the memory to fit: the length of the function table, and an entry made on the way */
  table: number;
  trampoline: number;
}

export type SandboxRequest =
  | { type: "boot"; files: PythonFiles; harness: string; limits: SandboxLimits; state: SandboxState | null }
  | { type: "run"; job: SandboxJob };

export type SandboxReply =
  | { type: "ready"; state: SandboxState }
  | { type: "failed"; message: string }
  /** `fit`: whether it may run another; otherwise it has to be replaced */
  | { type: "done"; report: SandboxReport; fit: boolean };

export interface SandboxPort {
  post(reply: SandboxReply): void;
  listen(handler: (request: SandboxRequest) => void): void;
}

/** The few of Emscripten's structures that the sandbox touches. */
export interface FileNode {
  name: string;
  mode: number;
  mount: unknown;
  mtime: number;
  link?: string;
  usedBytes?: number;
  contents?: Uint8Array | Record<string, FileNode> | null;
}

export interface FileStream {
  fd: number;
  node: FileNode;
}

/** Reads into, or writes from, `buffer[offset, offset + length)`. @returns how many bytes */
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
  /** @returns 0 where the call raised */
  _PyObject_CallNoArgs(address: number): number;
  /** @returns what `_PyGILState_Release` takes back */
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
