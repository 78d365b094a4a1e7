import type {
  FileAccess,
  FileNode,
  Pyodide,
  PythonModule,
  SandboxJob,
  SandboxLimits,
  SandboxPort,
  SandboxReport,
  SandboxRequest,
  SandboxState,
} from "./sandbox-types.ts";

/**
 * Runs untrusted Python, one job after the other, in a thread that serves nothing else. Three walls, each closed before
 * the first job:
 *
 * 1. WebAssembly: Python reaches the world through the functions that its module imports. Those that touch JavaScript,
 *    sockets, processes and libraries are refused; what is left are files in memory, clocks and a seeded random source.
 * 2. JavaScript: the thread's globals are gone but for the language's own and a few harmless ones, and text cannot become
 *    code. Should someone break through the first wall, there is nothing here to use.
 * 3. The thread: whoever started it ends it when time is out.
 *
 * After each job the interpreter's memory is what it was before the first one, byte by byte; where anything outside of that
 * memory has changed (files), or the interpreter broke down, the thread asks to be replaced.
 *
 * The function uses nothing but its argument and globals, for its text is also a thread's program.
 */
export function codeSandbox(port: SandboxPort): void {
  const PAGE = 65536;
  /** A heap that has grown never shrinks; above this a thread is replaced rather than cleaned. */
  const KEEP_BYTES = 256 << 20;
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
  const [EPERM, ENOSPC, ENOSYS] = [63, 51, 52]; // as Emscripten numbers them
  const SEED = 0x2545f491;
  const scope = globalThis as unknown as Record<string, unknown>;
  type Imports = Record<string, Record<string, unknown>>;
  type Host = (...args: unknown[]) => unknown;

  let closed = false;
  let seed = SEED;
  let job: Uint8Array = new Uint8Array();
  let jobAt = 0;
  let stdin: Uint8Array = new Uint8Array();
  let stdinAt = 0;
  let stdout: Uint8Array[] = [];
  let answer: Uint8Array[] = [];
  let written = 0;
  let overflow = false;
  let starved = false;
  let deadline = Number.POSITIVE_INFINITY;
  let run: (job: SandboxJob) => { report: SandboxReport; fit: boolean };

  /** Python must not depend on chance: the same program, the same result. */
  function fillRandom(bytes: Uint8Array): number {
    for (let i = 0; i < bytes.length; i++) {
      seed ^= seed << 13;
      seed ^= seed >>> 17;
      seed ^= seed << 5;
      bytes[i] = seed;
    }
    return 0;
  }

  /** Called by Python every so many steps: ends most programs in time, for Deno cannot end a thread that computes. */
  function checkTime(): number {
    if (performance.now() > deadline) throw new Error("it ran out of time");
    return 0;
  }

  /** The functions that Python's module imports, of which those not allowed end with the boot. */
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

  /** Takes from the thread all but the language. */
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

  async function boot({
    files,
    harness,
    limits,
    state,
  }: Extract<SandboxRequest, { type: "boot" }>): Promise<SandboxState> {
    const memory = new WebAssembly.Memory({
      initial: (state?.heap.length ?? 20 << 20) / PAGE,
      maximum: Math.floor(limits.memory_bytes / PAGE),
    });
    const heap = () => new Uint8Array(memory.buffer);
    const nothing = () => {};
    const put = (name: string, value: unknown) =>
      Object.defineProperty(scope, name, { value, writable: true, configurable: true });
    // without these it takes the thread for a bare shell, which asks for files by the three functions below
    for (const name of ["process", "require", "Deno", "Bun"]) put(name, undefined);
    // an object of an earlier state must not be freed in a later one
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
    const instantiate = WebAssembly.instantiate;
    const ours = async (source: Uint8Array, imports: Imports) => {
      if (source.length !== 0) return instantiate(source as BufferSource, imports as WebAssembly.Imports); // a small one of its own
      const instance = await instantiate(files.wasm, guarded(files.wasm, imports, heap) as WebAssembly.Imports);
      return { instance, module: files.wasm };
    };
    Object.assign(WebAssembly, { instantiate: ours });
    if ("text" in files.scripts) for (const text of files.scripts.text) (scope.eval as Host)(text);
    else for (const url of files.scripts.urls) await import(/* @vite-ignore */ url);

    const create = scope._createPyodideModule as (settings: object) => Promise<PythonModule>;
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
      // only the frame is built: what Python did while it started is in the memory
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
      throw new Error("it was built otherwise than the one whose state it was given");
    }
    module.HEAP8[module._Py_EMSCRIPTEN_SIGNAL_HANDLING] = 1; // Python calls checkTime
    const baseline = state?.heap ?? heap().slice();
    run = prepare(module, entry, heap, baseline, limits);
    strip();
    closed = true;
    // the first run shows that all is in place
    const { report, fit } = run({
      code: "",
      name: "__main__",
      prelude: "",
      stdin: "",
      call: null,
      args: "",
      test: null,
      ms: 60_000,
    });
    if (!fit || report.answer === null) throw new Error(report.crash ?? "its state does not come back after a run");
    return { heap: baseline, entry, ...now };
  }

  function prepare(
    module: PythonModule,
    entry: number,
    heap: () => Uint8Array,
    baseline: Uint8Array,
    { output_bytes }: SandboxLimits,
  ): typeof run {
    const { FS } = module;
    /** Counts what is written, in files too. */
    const charge = (bytes: number) => {
      written += bytes;
      if (written <= output_bytes) return;
      overflow = true;
      throw new FS.ErrnoError(ENOSPC);
    };
    const source = (next: (length: number) => Uint8Array): FileAccess => {
      return (_, buffer, offset, length) => {
        const part = next(length);
        buffer.set(part, offset);
        return part.length;
      };
    };
    const sink = (take: (part: Uint8Array) => void): FileAccess => {
      return (_, buffer, offset, length) => {
        take(buffer.slice(offset, offset + length));
        return length;
      };
    };
    const print = (part: Uint8Array) => {
      charge(part.length);
      stdout.push(part);
    };
    const random = (length: number) => {
      const bytes = new Uint8Array(length);
      fillRandom(bytes);
      return bytes;
    };
    const devices: [path: string, ops: { read?: FileAccess; write?: FileAccess }][] = [
      ["/dev/stdin", { read: source((length) => stdin.subarray(stdinAt, (stdinAt += length))) }],
      ["/dev/stdout", { write: sink(print) }],
      ["/dev/stderr", { write: sink((part) => charge(part.length)) }],
      [
        "/dev/channel",
        { read: source((length) => job.subarray(jobAt, (jobAt += length))), write: sink((part) => answer.push(part)) },
      ],
      ["/dev/urandom", { read: source(random) }],
    ];
    for (const old of ["stdin", "stdout", "stderr", "random", "urandom", "tty", "tty1"]) FS.unlink(`/dev/${old}`);
    devices.forEach(([path, ops], minor) => {
      FS.registerDevice(FS.makedev(64, minor), { open() {}, close() {}, ...ops });
      FS.mkdev(path, 0o666, FS.makedev(64, minor));
    });
    FS.symlink("/dev/urandom", "/dev/random");
    for (let fd = 0; fd < 3; fd++) {
      const old = FS.streams[fd];
      if (old) FS.close(old);
      FS.open(devices[fd][0], fd === 0 ? "r" : "w");
    }
    const { MEMFS } = FS.filesystems;
    const files = MEMFS.ops_table.file.stream;
    const [write, resize] = [files.write, MEMFS.resizeFileStorage];
    const room = ({ contents }: FileNode) => (contents instanceof Uint8Array ? contents.length : 0);
    files.write = (stream, buffer, offset, length, position) => {
      charge(Math.max(length, position + length - room(stream.node)));
      return write(stream, buffer, offset, length, position);
    };
    MEMFS.resizeFileStorage = (node, size) => {
      charge(Math.max(0, size - room(node)));
      return resize(node, size);
    };

    /** All that the file system holds, one thing after the other. */
    const tree = () => {
      const found: unknown[] = [FS.currentPath];
      const walk = (node: FileNode) => {
        found.push(node, node.name, node.mode, node.usedBytes, node.link, node.mtime);
        if (FS.isDir(node.mode) && node.mount === FS.root.mount)
          Object.values(node.contents as Record<string, FileNode>).forEach(walk);
      };
      walk(FS.root);
      return found;
    };
    const first = tree();
    const nodes = first.filter((value) => typeof value === "object" && value !== null) as FileNode[];
    const contents = nodes.flatMap((node) =>
      node.contents instanceof Uint8Array ? { node, bytes: node.contents.slice(0, node.usedBytes) } : [],
    );
    const streams = FS.streams.slice();
    const { nextInode } = FS;
    const stack = module.stackSave();

    const unchanged = () => {
      const now = tree();
      if (now.length !== first.length || now.some((value, i) => value !== first[i])) return false;
      return (
        contents.every(({ node, bytes }) => sameBytes(node.contents as Uint8Array, bytes)) &&
        module.stackSave() === stack
      );
    };
    const restore = () => {
      heap().set(baseline);
      heap().fill(0, baseline.length);
      FS.streams.length = 0;
      streams.forEach((stream, fd) => {
        FS.streams.push(stream);
        if (stream) stream.fd = fd;
      });
      FS.nextInode = nextInode;
    };

    return ({ stdin: input, ms: allowed, ...rest }) => {
      const encoder = new TextEncoder();
      [job, jobAt, stdin, stdinAt] = [encoder.encode(JSON.stringify(rest)), 0, encoder.encode(input), 0];
      [stdout, answer, written, overflow, starved, seed] = [[], [], 0, false, false, SEED];
      let crash: string | null = null;
      const start = performance.now();
      deadline = start + allowed;
      try {
        if (module._PyObject_CallNoArgs(entry) === 0) crash = "the harness failed";
      } catch (error) {
        crash = error instanceof Error ? error.message : String(error);
      }
      const ms = performance.now() - start;
      const report = {
        ms,
        answer: crash === null ? textOf(answer) : null,
        crash,
        stdout: textOf(stdout),
        overflow,
        starved,
      };
      const fit = crash === null && heap().length <= KEEP_BYTES && unchanged();
      if (fit) restore();
      return { report, fit };
    };
  }

  /** Whether `bytes` begins with `wanted`. */
  function sameBytes(bytes: Uint8Array, wanted: Uint8Array): boolean {
    for (let i = 0; i < wanted.length; i++) if (bytes[i] !== wanted[i]) return false;
    return true;
  }

  function textOf(parts: Uint8Array[]): string {
    const decoder = new TextDecoder();
    return parts.map((part) => decoder.decode(part, { stream: true })).join("") + decoder.decode();
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
