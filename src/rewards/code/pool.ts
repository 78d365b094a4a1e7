import { AbortError, RecipeError, TrainingError } from "../../errors.ts";
import { HARNESS } from "./harness.ts";
import { resultOf, type TestResult } from "./outcome.ts";
import type { PythonFiles, SandboxJob, SandboxReply, SandboxRequest, SandboxState } from "./sandbox-types.ts";
import type { CodeTask, CodeTest } from "./tests.ts";

/** Runs programs on their tests. */
export interface CodeExecutor {
  /**
   * @returns a result for each of the task's tests, in order
   * @throws {AbortError} the signal was aborted
   */
  run(task: CodeTask, signal?: AbortSignal): Promise<TestResult[]>;
  /** Ends all running programs. */
  end(): Promise<void>;
}

/** A thread in which `codeSandbox` runs. */
interface CodeThread {
  post(request: SandboxRequest): void;
  /** Called with each reply. */
  onReply(handler: (reply: SandboxReply) => void): void;
  /** Called once if the thread ends by itself. */
  onEnd(handler: (end: { reason: string; memory: boolean }) => void): void;
  end(): Promise<void>;
}

/** The platform's part. */
interface CodePlatform {
  files(): Promise<PythonFiles>;
  thread(): CodeThread;
  /** threads at once */
  threads: number;
}

export interface CodeLimits {
  /** limit of one test; LiveCodeBench has 6 */
  test_seconds: number;
  /** limit of all tests of a program together: tests that do not run count as out of time */
  total_seconds: number;
  /** of Python's heap, MiB */
  memory_mb: number;
  /** of a test's output and files, MiB */
  output_mb: number;
}

export const CODE_LIMITS: CodeLimits = { test_seconds: 6, total_seconds: 30, memory_mb: 512, output_mb: 8 };

const BOOT_MS = 180_000;
/** Extra time for a reply that arrived in time but waits behind other work of this thread. */
const GRACE_MS = 100;

type Ended = { reply: SandboxReply } | { reason: string; memory: boolean } | "late" | "aborted";

/** A thread with one question at a time. */
class Sandbox {
  readonly #thread: CodeThread;
  #settle: ((ended: Ended) => void) | null = null;
  #end: { reason: string; memory: boolean } | null = null;

  constructor(thread: CodeThread) {
    this.#thread = thread;
    thread.onReply((reply) => this.#settle?.({ reply }));
    thread.onEnd((end) => {
      this.#end = end;
      this.#settle?.(end);
    });
  }

  async ask(request: SandboxRequest, ms: number, signal?: AbortSignal): Promise<Ended> {
    if (this.#end) return this.#end;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onAbort = () => this.#settle?.("aborted");
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await new Promise((resolve) => {
        this.#settle = resolve;
        timer = setTimeout(() => {
          timer = setTimeout(() => resolve("late"), GRACE_MS);
        }, ms);
        this.#thread.post(request);
        if (signal?.aborted) onAbort();
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      this.#settle = null;
    }
  }

  end(): Promise<void> {
    this.#end ??= { reason: "it was ended", memory: false };
    this.#settle?.(this.#end);
    return this.#thread.end();
  }
}

/** A slot for one program at a time. */
interface Slot {
  /** null until needed, and after a failed start */
  sandbox: Promise<Sandbox> | null;
}

/**
 * Threads that run Python, started on first use. A thread that a program made unusable (hung, crashed, wrote files) is
 * ended and replaced. The first thread shares its start state with the others, which then start in a fraction of the
 * time.
 */
export class CodePool implements CodeExecutor {
  readonly #platform: CodePlatform;
  readonly #limits: CodeLimits;
  #files: Promise<PythonFiles> | null = null;
  #state: Promise<SandboxState> | null = null;
  readonly #idle: Slot[];
  readonly #waiting: ((slot: Slot) => void)[] = [];
  readonly #alive = new Set<Sandbox>();
  #ended = false;

  /** @throws {RecipeError} an invalid limit */
  constructor(platform: CodePlatform, limits: Partial<CodeLimits> = {}) {
    this.#platform = platform;
    this.#limits = { ...CODE_LIMITS, ...limits };
    for (const [name, value] of Object.entries(this.#limits)) {
      if (!(value > 0)) throw new RecipeError(`Cannot run code with ${name} ${value}: it must be above 0`);
    }
    const { memory_mb } = this.#limits;
    if (!(memory_mb >= 64 && memory_mb <= 4096)) {
      throw new RecipeError(`Cannot run code with memory_mb ${memory_mb}: it must be between 64 and 4096`);
    }
    this.#idle = Array.from({ length: platform.threads }, () => ({ sandbox: null }));
  }

  async run({ code, tests, prelude = "" }: CodeTask, signal?: AbortSignal): Promise<TestResult[]> {
    const slot = this.#idle.shift() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(resolve)));
    try {
      const results: TestResult[] = [];
      let left = this.#limits.total_seconds * 1000;
      for (const test of tests) {
        const result = await this.#test(slot, { code, prelude }, test, left, signal);
        left -= result.ms;
        results.push(result);
      }
      return results;
    } finally {
      const next = this.#waiting.shift();
      if (next) next(slot);
      else this.#idle.unshift(slot);
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#alive].map((sandbox) => sandbox.end()));
  }

  /** Runs one test of a program that has `left` ms for all remaining tests. */
  async #test(
    slot: Slot,
    { code, prelude }: { code: string; prelude: string },
    test: CodeTest,
    left: number,
    signal?: AbortSignal,
  ): Promise<TestResult> {
    const { test_seconds, total_seconds } = this.#limits;
    if (left <= 0)
      return { outcome: "timeout", message: `not run: the program's limit of ${total_seconds} s was used up`, ms: 0 };
    const sandbox = await this.#sandboxOf(slot, signal);
    const ms = Math.min(left, test_seconds * 1000);
    const job = jobOf(code, prelude, test);
    const start = performance.now();
    const ended = await sandbox.ask({ type: "run", job: { ...job, ms } }, ms, signal);
    const took = performance.now() - start;
    const done = typeof ended === "object" && "reply" in ended && ended.reply.type === "done" ? ended.reply : null;
    if (!done?.fit) this.#replace(slot, sandbox);
    if (this.#ended || signal?.aborted) throw aborted();
    if (ended === "late" || (done && done.report.ms > ms)) {
      const message =
        ms < test_seconds * 1000 ? `the program's limit of ${total_seconds} s was used up` : `over ${test_seconds} s`;
      return { outcome: "timeout", message, ms: took };
    }
    if (done) return resultOf(test, done.report, this.#bytes(), job.test?.secret ?? null);
    const { reason, memory } = ended as { reason: string; memory: boolean };
    return { outcome: memory ? "out_of_memory" : "runtime_error", message: `it ended its thread: ${reason}`, ms: took };
  }

  async #sandboxOf(slot: Slot, signal?: AbortSignal): Promise<Sandbox> {
    if (this.#ended || signal?.aborted) throw aborted();
    slot.sandbox ??= this.#start();
    try {
      return await slot.sandbox;
    } catch (error) {
      slot.sandbox = null;
      throw error;
    }
  }

  #replace(slot: Slot, sandbox: Sandbox): void {
    void sandbox.end();
    this.#alive.delete(sandbox);
    slot.sandbox = this.#ended ? null : this.#start();
    slot.sandbox?.catch(() => {}); // the next user sees the error
  }

  /** The first thread creates the state that the others start from; if it fails, the next thread becomes the first. */
  async #start(): Promise<Sandbox> {
    if (this.#state) return (await this.#boot(await this.#state)).sandbox;
    const first = this.#boot(null);
    this.#state = first.then(({ state }) => state);
    this.#state.catch(() => (this.#state = null));
    return (await first).sandbox;
  }

  async #boot(state: SandboxState | null): Promise<{ sandbox: Sandbox; state: SandboxState }> {
    this.#files ??= this.#platform.files();
    const files = await this.#files;
    if (this.#ended) throw aborted();
    const sandbox = new Sandbox(this.#platform.thread());
    this.#alive.add(sandbox);
    const ended = await sandbox.ask({ type: "boot", files, harness: HARNESS, limits: this.#bytes(), state }, BOOT_MS);
    if (typeof ended === "object" && "reply" in ended && ended.reply.type === "ready") {
      return { sandbox, state: ended.reply.state };
    }
    void sandbox.end();
    this.#alive.delete(sandbox);
    if (this.#ended) throw aborted();
    throw new TrainingError(`Cannot start Python for code rewards: ${whyNot(ended)}`);
  }

  #bytes() {
    return { memory_bytes: this.#limits.memory_mb * 2 ** 20, output_bytes: this.#limits.output_mb * 2 ** 20 };
  }
}

function whyNot(ended: Ended): string {
  if (typeof ended === "string") return `it was not ready within ${BOOT_MS / 1000} s`;
  if (!("reply" in ended)) return ended.reason;
  return ended.reply.type === "failed" ? ended.reply.message : "it sent an unexpected answer";
}

function aborted(): AbortError {
  return new AbortError("The run was stopped while it tested code");
}

function jobOf(code: string, prelude: string, test: CodeTest): Omit<SandboxJob, "ms"> {
  const job = { code, prelude, name: "__main__", stdin: "", call: null, args: "", test: null };
  if (test.kind === "stdin") return { ...job, stdin: test.input };
  // like an imported module: code under `if __name__ == "__main__"` does not run
  const module = { ...job, name: "solution" };
  if (test.kind === "call") return { ...module, call: test.name, args: test.args };
  const { code: tested, given = "", entry = null } = test;
  return { ...module, test: { code: tested, given, entry, secret: secretText() } };
}

/** A secret that no program can guess. */
function secretText(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, "0")).join("");
}
