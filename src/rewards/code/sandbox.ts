import { type Interpreter, openInterpreter as open } from "./interpreter.ts";
import type {
  Pyodide,
  PythonModule,
  SandboxJob,
  SandboxPort,
  SandboxReport,
  SandboxRequest,
  SandboxState,
} from "./sandbox-types.ts";

/** The program of a sandbox thread: the text of a function that takes a port. */
export const sandboxProgram = (): string => `(port) => (${codeSandbox})(port, ${open})`;

/** Runs the sandbox in the thread whose port this is. */
export const runSandbox = (port: SandboxPort): void => codeSandbox(port, open);

/**
 * Runs untrusted Python, one job after the other, in a dedicated thread. Tests run in a second interpreter with its own
 * memory, which calls functions in the program's interpreter; only text passes between the two.
 *
 * There are three walls, all closed before the first job:
 *
 * 1. WebAssembly: Python reaches the outside only through its module's imports. Imports for JavaScript, sockets,
 *    processes and libraries are refused; files in memory, clocks and a seeded random source remain.
 * 2. JavaScript: all globals of the thread are removed, except the language's own and a few harmless ones, and text
 *    cannot become code. Code that breaks through the first wall finds nothing to use here.
 * 3. The thread: its owner ends it when time is up.
 *
 * After each job, an interpreter's memory is restored byte by byte to its state before the first job. If anything
 * outside that memory changed (files), or the interpreter crashed, the thread asks to be replaced.
 *
 * The function uses only its arguments and globals, because its text is also a thread's program.
 */
function codeSandbox(port: SandboxPort, openInterpreter: typeof open): void {
  const PAGE = 65536;
  /** memory limit of the interpreter that runs tests */
  const JUDGE_BYTES = 256 << 20;
  const KEPT_GLOBALS = (
    "Object Array Number String Boolean Symbol BigInt Math JSON Date RegExp Error AggregateError EvalError RangeError " +
    "ReferenceError SyntaxError TypeError URIError Promise Proxy Reflect Map Set WeakMap WeakSet WeakRef ArrayBuffer " +
    "DataView Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array Float32Array " +
    "Float64Array BigInt64Array BigUint64Array Atomics WebAssembly Intl Infinity NaN undefined globalThis isNaN isFinite " +
    "parseInt parseFloat TextDecoder TextEncoder performance __name dispatchEvent queueMicrotask"
  ).split(" ");
  const ALLOWED = new Set(
    (
      "environ_sizes_get environ_get fd_close fd_read fd_write fd_sync fd_fdstat_get fd_seek fd_pread fd_pwrite " +
      "clock_res_get clock_time_get emscripten_date_now emscripten_get_now _tzset_js _timegm_js _mktime_js _localtime_js " +
      "_gmtime_js __syscall_fcntl64 __syscall_ioctl __syscall_openat __syscall_faccessat __syscall_chdir __syscall_chmod " +
      "__syscall_fchownat __syscall_dup __syscall_dup3 __syscall_fchdir __syscall_fchmod __syscall_fchmodat2 " +
      "__syscall_fchown32 __syscall_fdatasync __syscall_fstat64 __syscall_stat64 __syscall_newfstatat __syscall_lstat64 " +
      "__syscall_ftruncate64 __syscall_getcwd __syscall_getdents64 __syscall_mkdirat __syscall_poll __syscall__newselect " +
      "__syscall_fadvise64 __syscall_fallocate __syscall_readlinkat __syscall_unlinkat __syscall_rmdir __syscall_renameat " +
      "__syscall_statfs64 __syscall_fstatfs64 __syscall_symlinkat __syscall_truncate64 __syscall_utimensat _mmap_js " +
      "_munmap_js _msync_js emscripten_get_heap_max emscripten_resize_heap _Py_emscripten_runtime " +
      "_Py_CheckEmscriptenSignals_Helper _PyEM_InitTrampoline_js _PyEM_GetCountArgsPtr _PyEM_TrampolineCall_JS " +
      "is_sentinel create_sentinel emscripten_runtime_keepalive_push emscripten_runtime_keepalive_pop " +
      "_emscripten_runtime_keepalive_clear"
    ).split(" "),
  );
  const [EPERM, ENOSYS] = [63, 52]; // Emscripten's numbers
  const SEED = 0x2545f491;
  const scope = globalThis as unknown as Record<string, unknown>;
  type Imports = Record<string, Record<string, unknown>>;
  type Host = (...args: unknown[]) => unknown;
  type BootRequest = Extract<SandboxRequest, { type: "boot" }>;

  let closed = false;
  let seed = SEED;
  let starved = false;
  let deadline = Number.POSITIVE_INFINITY;
  /** runs programs */
  let solver: Interpreter;
  /** runs tests, out of reach of programs */
  let judge: Interpreter;
  let createModule: unknown;
  const nothing = () => {};
  const instantiate = WebAssembly.instantiate;

  /** A seeded random source: the same program gives the same result. */
  function fillRandom(bytes: Uint8Array): number {
    for (let i = 0; i < bytes.length; i++) {
      seed ^= seed << 13;
      seed ^= seed >>> 17;
      seed ^= seed << 5;
      bytes[i] = seed;
    }
    return 0;
  }

  /** Python calls it regularly: it ends most programs in time, because Deno cannot end a thread that computes. */
  function checkTime(): number {
    if (performance.now() > deadline) throw new Error("it ran out of time");
    return 0;
  }

  /** The imports of Python's module; forbidden ones stop working after start-up. */
  function guarded(module: WebAssembly.Module, imports: Imports, heap: () => Uint8Array): Imports {
    const out: Imports = {};
    for (const { module: room, name, kind } of WebAssembly.Module.imports(module)) {
      const own = (out[room] ??= {});
      const value = imports[room][name];
      own[name] = value;
      if (kind !== "function") continue;
      if (name === "_Py_CheckEmscriptenSignals_Helper") own[name] = checkTime;
      else if (name === "random_get")
        own[name] = (at: number, n: number) => fillRandom(heap().subarray(at >>> 0, (at >>> 0) + n));
      else if (name === "emscripten_resize_heap")
        own[name] = (size: number) => {
          const grown = (value as Host)(size);
          if (!grown) starved = true;
          return grown;
        };
      else if (!ALLOWED.has(name))
        own[name] = (...args: unknown[]) => (closed ? refuse(name, args) : (value as Host)(...args));
    }
    return out;
  }

  function refuse(name: string, args: unknown[]): number {
    if (name === "exit" || name === "proc_exit") throw new Error(`it ended the process with code ${args[0]}`);
    if (/^__syscall_(socket|connect|bind|listen|accept4|send|recv|get(sock|peer))/.test(name)) return -EPERM;
    if (name === "can_run_sync_js") return 0;
    if (/^__syscall_|^_emscripten_system$|^_setitimer_js$/.test(name)) return -ENOSYS;
    if (/^get(addr|name)info$/.test(name)) return -4; // EAI_FAIL
    if (/^_dl(open|sym)_js$|^getprotobyname$/.test(name)) return 0;
    throw new Error(`it called ${name}, which is not allowed`);
  }

  /** Removes all globals of the thread except the language's. */
  function strip(): void {
    for (let owner: object = scope; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
      for (const name of Reflect.ownKeys(owner)) {
        if (typeof name === "symbol" || KEPT_GLOBALS.includes(name) || name === "constructor") continue;
        if (!Reflect.deleteProperty(owner, name)) Reflect.set(owner, name, undefined);
      }
    }
    const makers = [() => {}, async () => {}, function* () {}, async function* () {}];
    for (const maker of makers) Reflect.deleteProperty(Object.getPrototypeOf(maker), "constructor");
  }

  /** Starts an interpreter: from scratch, or from the start state of another one. */
  async function start(
    { files, harness, limits }: BootRequest,
    memory_bytes: number,
    state: SandboxState | null,
    peer: (request: string) => string,
  ): Promise<{ python: Interpreter; state: SandboxState }> {
    const memory = new WebAssembly.Memory({
      initial: (state?.heap.length ?? 20 << 20) / PAGE,
      maximum: Math.floor(memory_bytes / PAGE),
    });
    const heap = () => new Uint8Array(memory.buffer);
    const ours = async (source: Uint8Array, imports: Imports) => {
      // a small module of Python's own
      if (source.length !== 0) return instantiate(source as BufferSource, imports as WebAssembly.Imports);
      const instance = await instantiate(files.wasm, guarded(files.wasm, imports, heap) as WebAssembly.Imports);
      return { instance, module: files.wasm };
    };
    Object.assign(WebAssembly, { instantiate: ours });
    const create = createModule as (settings: object) => Promise<PythonModule>;
    const load = scope.loadPyodide as (options: object) => Promise<Pyodide>;
    const options = {
      indexURL: "/",
      env: { PYTHONHASHSEED: "0", HOME: "/home" },
      jsglobals: {},
      stdout: nothing,
      stderr: nothing,
    };
    let module: PythonModule;
    let entry: number;
    if (state) {
      // builds only the frame: the memory already contains the effects of Python's start-up
      module = await new Promise((resolve, reject) => {
        scope._createPyodideModule = (settings: object) => {
          create(Object.assign(settings, { wasmMemory: memory, noInitialRun: true })).then(resolve, reject);
          return new Promise(nothing);
        };
        load(options).catch(reject);
      });
      entry = state.entry;
      heap().set(state.heap);
    } else {
      scope._createPyodideModule = (settings: object) => create(Object.assign(settings, { wasmMemory: memory }));
      const python = await load(options);
      module = python._module;
      entry = python.runPython(harness, { globals: python.globals.get("dict")() }) as number;
    }
    const now = { table: module.wasmTable.length, trampoline: module._PyEM_CountArgsPtr };
    if (state && (state.table !== now.table || state.trampoline !== now.trampoline)) {
      throw new Error("its build differs from the one that the saved state came from");
    }
    module.HEAP8[module._Py_EMSCRIPTEN_SIGNAL_HANDLING] = 1; // makes Python call checkTime
    const baseline = state?.heap ?? heap().slice();
    const host = { output_bytes: limits.output_bytes, fillRandom, peer };
    return { python: openInterpreter(module, entry, heap, baseline, host), state: { heap: baseline, entry, ...now } };
  }

  async function boot(request: BootRequest): Promise<SandboxState> {
    const { files, limits } = request;
    const put = (name: string, value: unknown) =>
      Object.defineProperty(scope, name, { value, writable: true, configurable: true });
    // without these, it treats the thread as a bare shell, which loads files with the three functions below
    for (const name of ["process", "require", "Deno", "Bun"]) put(name, undefined);
    // an object of an earlier state must not be freed in a later state
    put(
      "FinalizationRegistry",
      class {
        register() {}
        unregister() {}
      },
    );
    put("read", () => files.lock);
    put("load", nothing);
    put("readbuffer", (name: string) => (name.endsWith(".zip") ? files.stdlib : new Uint8Array()));
    put("console", { log: nothing, warn: nothing, error: nothing, info: nothing });
    if ("text" in files.scripts) for (const text of files.scripts.text) (scope.eval as Host)(text);
    else for (const url of files.scripts.urls) await import(/* @vite-ignore */ url);
    createModule = scope._createPyodideModule;

    const first = await start(request, limits.memory_bytes, request.state, (text) =>
      judge.ask(JSON.stringify({ kind: "asked", text })),
    );
    solver = first.python;
    const asks = (text: string) => {
      const reply = solver.ask(JSON.stringify({ kind: "asked", text }));
      return JSON.stringify({ reply, printed: solver.printed() });
    };
    judge = (await start(request, Math.min(limits.memory_bytes, JUDGE_BYTES), first.state, asks)).python;
    strip();
    closed = true;
    // the first run checks that everything works
    const empty = { code: "", name: "__main__", prelude: "", stdin: "", call: null, args: "", ms: 60_000 };
    const { report, fit } = run({ ...empty, test: { code: "", given: "", entry: null, secret: "" } });
    if (!fit || report.answer === null || report.verdict === null) {
      throw new Error(report.crash ?? "its state cannot be restored after a run");
    }
    return first.state;
  }

  function run({ stdin, ms: allowed, test, ...rest }: SandboxJob): { report: SandboxReport; fit: boolean } {
    let crash: string | null = null;
    let answer: string | null = null;
    let verdict: string | null = null;
    [starved, seed] = [false, SEED];
    solver.begin(stdin);
    judge.begin("");
    const start = performance.now();
    deadline = start + allowed;
    try {
      answer = solver.ask(JSON.stringify({ kind: "program", tested: test !== null, ...rest }));
      if (test) {
        solver.printed();
        verdict = judge.ask(JSON.stringify({ kind: "test", ...test }));
      }
    } catch (error) {
      crash = error instanceof Error ? error.message : String(error);
    }
    const ms = performance.now() - start;
    const overflow = solver.overflowed() || judge.overflowed();
    if (crash !== null) [answer, verdict] = [null, null];
    const report = { ms, answer, verdict, crash, stdout: solver.stdout(), overflow, starved };
    // an unused interpreter needs no cleaning
    const fit = crash === null && solver.reset() && (test === null || judge.reset());
    return { report, fit };
  }

  port.listen(async (request) => {
    if (request.type === "run") return port.post({ type: "done", ...run(request.job) });
    try {
      port.post({ type: "ready", state: await boot(request) });
    } catch (error) {
      port.post({ type: "failed", message: error instanceof Error ? error.message : String(error) });
    }
  });
}
