import type { ModuleExport, RewardInput, RewardSandbox, RewardSource } from "../../src/client/types.ts";
import { AbortError, QwenchError } from "../../src/errors.ts";
import { h } from "../dom.ts";
import { FRAME_FILE } from "./frame.ts";
import { parseProgram, THREAD_PROGRAM } from "./thread.ts";

/** Milliseconds for the frame to load, and for a module to be evaluated. */
const FRAME_MS = 20_000;
const EVALUATE_MS = 5000;
/** Milliseconds for a syntax error to be found again: there is none if the module itself threw it. */
const PARSE_MS = 300;

/** An error of the user's code. */
export class RewardFault extends Error {
  /** line of the module, from 1; null: not known */
  readonly line: number | null;

  constructor({ name, message, line }: Told) {
    super(message);
    this.name = name;
    this.line = line;
  }
}

interface Told {
  name: string;
  message: string;
  line: number | null;
  syntax?: boolean;
}
type Reply = { id: number; result?: unknown; error?: Told };
type FrameReply = { type: "ready" } | { type: "died"; id: number; message: string; line: number | null };

/** A module's worker, with the calls that wait for it. */
interface Thread {
  number: number;
  port: MessagePort;
  waiting: Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>;
}

/** A module that was opened: its thread is null after it was ended, until the next call. */
interface Opened {
  module: RewardSource;
  thread: Promise<Thread> | null;
}

/**
 * Runs reward modules in workers of a sandboxed frame: no network, no storage, no access to the page. A worker ends when its call
 * is aborted, and the next call starts another.
 */
export class FrameSandbox implements RewardSandbox {
  #control: Promise<MessagePort> | null = null;
  readonly #modules = new Map<number, Opened>();
  readonly #threads = new Map<number, Thread>();
  #numbers = 0;

  async open(module: RewardSource): Promise<{ id: number; exports: ModuleExport[] }> {
    const { thread, exports } = await this.#start(module);
    const id = ++this.#numbers;
    this.#modules.set(id, { module, thread: Promise.resolve(thread) });
    return { id, exports };
  }

  async call(id: number, name: string, input: RewardInput, { signal }: { signal: AbortSignal }): Promise<unknown> {
    const opened = this.#modules.get(id);
    if (!opened) throw new QwenchError(`The rewards' thread ${id} was ended`);
    signal.throwIfAborted();
    opened.thread ??= this.#start(opened.module).then(({ thread }) => thread);
    const own = opened.thread;
    const end = () => void own.then((thread) => this.#end(thread, new AbortError("The reward was stopped")));
    signal.addEventListener("abort", end, { once: true });
    try {
      const thread = await own;
      signal.throwIfAborted();
      const call = ++this.#numbers;
      const answer = this.#wait(thread, call);
      thread.port.postMessage({ id: call, name, input });
      return await answer;
    } catch (error) {
      // a thread that was ended, or did not start, does not answer again
      if (!(await alive(own, this.#threads)) && opened.thread === own) opened.thread = null;
      throw error;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  async end(id: number): Promise<void> {
    const opened = this.#modules.get(id);
    this.#modules.delete(id);
    const thread = await opened?.thread?.catch(() => null);
    if (thread) this.#end(thread, new AbortError("The rewards' thread was ended"));
  }

  /** Starts a worker and evaluates the module in it. @throws {RewardFault} what the module threw, with its line */
  async #start(module: RewardSource): Promise<{ thread: Thread; exports: ModuleExport[] }> {
    const control = await this.#frame();
    const thread = this.#make(control, THREAD_PROGRAM, module.text);
    const late = new QwenchError(
      `${module.name} did not load within ${EVALUATE_MS / 1000} s: its top level does not end`,
    );
    const timer = setTimeout(() => this.#end(thread, late), EVALUATE_MS);
    try {
      const exports = (await this.#wait(thread, 0)) as ModuleExport[];
      return { thread, exports };
    } catch (error) {
      this.#end(thread, new AbortError("The module did not load"));
      if (error instanceof SyntaxFault) throw await this.#located(control, module, error);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #make(control: MessagePort, program: string, text: string): Thread {
    const { port1, port2 } = new MessageChannel();
    const thread: Thread = { number: ++this.#numbers, port: port1, waiting: new Map() };
    this.#threads.set(thread.number, thread);
    port1.onmessage = ({ data: { id, result, error } }: MessageEvent<Reply>) => {
      const waiting = thread.waiting.get(id);
      thread.waiting.delete(id);
      if (error) waiting?.reject(error.syntax ? new SyntaxFault(error) : new RewardFault(error));
      else waiting?.resolve(result);
    };
    control.postMessage({ type: "make", id: thread.number, program, text }, [port2]);
    return thread;
  }

  /** A syntax error with its line, which only a worker's error event tells. */
  async #located(control: MessagePort, module: RewardSource, fault: RewardFault): Promise<RewardFault> {
    const thread = this.#make(control, parseProgram(module.text), "");
    const found = this.#wait(thread, 0).catch((error) => error as unknown);
    const late = new Promise((resolve) => setTimeout(() => resolve(null), PARSE_MS));
    const error = await Promise.race([found, late]);
    this.#end(thread, new AbortError("The module was checked"));
    return error instanceof RewardFault
      ? new RewardFault({ name: fault.name, message: fault.message, line: error.line })
      : fault;
  }

  #wait(thread: Thread, id: number): Promise<unknown> {
    return new Promise((resolve, reject) => thread.waiting.set(id, { resolve, reject }));
  }

  #end(thread: Thread, why: Error): void {
    if (!this.#threads.delete(thread.number)) return;
    void this.#control?.then((control) => control.postMessage({ type: "end", id: thread.number }));
    thread.port.close();
    for (const { reject } of thread.waiting.values()) reject(why);
    thread.waiting.clear();
    for (const opened of this.#modules.values()) {
      void opened.thread?.then((own) => {
        if (own === thread) opened.thread = null;
      });
    }
  }

  /** The port of the frame, which loads with the first module. */
  #frame(): Promise<MessagePort> {
    this.#control ??= this.#load();
    this.#control.catch(() => (this.#control = null));
    return this.#control;
  }

  #load(): Promise<MessagePort> {
    const frame = h("iframe", {
      src: new URL(FRAME_FILE, document.baseURI).href,
      sandbox: "allow-scripts",
      referrerpolicy: "no-referrer",
      title: "Sandbox of reward functions",
      class: "reward-sandbox",
      hidden: true,
      tabindex: -1,
      "aria-hidden": "true",
    });
    const { port1, port2 } = new MessageChannel();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        frame.remove();
        reject(
          new QwenchError(
            `Cannot run rewards: ${FRAME_FILE} did not load; it must lie beside the page, and the server must send no Content-Security-Policy with it`,
          ),
        );
      }, FRAME_MS);
      port1.onmessage = ({ data }: MessageEvent<FrameReply>) => {
        if (data.type === "died") return this.#died(data);
        clearTimeout(timer);
        resolve(port1);
      };
      // the frame has no origin that could be named
      frame.addEventListener("load", () => frame.contentWindow!.postMessage(null, "*", [port2]), { once: true });
      document.body.append(frame);
    });
  }

  #died({ id, message, line }: Extract<FrameReply, { type: "died" }>): void {
    const thread = this.#threads.get(id);
    if (thread) this.#end(thread, new RewardFault({ name: "Error", message: message.replace(/^Uncaught /, ""), line }));
  }
}

class SyntaxFault extends RewardFault {}

async function alive(thread: Promise<Thread>, threads: ReadonlyMap<number, Thread>): Promise<boolean> {
  const own = await thread.catch(() => null);
  return own !== null && threads.has(own.number);
}
