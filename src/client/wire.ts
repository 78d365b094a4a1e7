import { expose, releaseProxy, type TransferHandler, transferHandlers, wrap } from "comlink";
import * as errors from "../errors.ts";
import type { RewardSandbox, Trainer } from "./types.ts";

/** The first message to a worker. */
export interface WorkerOptions {
  /** parent folder of the embedded model's `tiny/`, ending with a slash */
  assets: string;
  /** root URL of the hub or a mirror; null: huggingface.co */
  hubUrl: string | null;
  /** access token for gated models; kept in memory only, and changed by `signIn` */
  token: string | null;
  /** name of a Web Lock that the worker holds until it dies */
  lock: string;
}

/** The trainer that a worker exposes: `Trainer` without the methods that only a page can provide. */
export type TrainerService = Omit<Trainer, "storage" | "terminate" | "lost"> & {
  storage: Omit<Trainer["storage"], "persist">;
  /**
   * Must be called first.
   *
   * @param lost receives a message when the GPU is lost
   * @param sandbox runs the user's reward modules; null: there are none
   */
  begin(options: WorkerOptions, lost: (why: string) => void, sandbox: RewardSandbox | null): Promise<void>;
};

/** A service as another thread sees it: its methods return promises. */
export type Remoted<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : Remoted<T[K]>;
};
export type RemoteTrainer = Remoted<TrainerService>;

/** The two methods of an iterator, exposed through a port. */
interface Pulls {
  next(): Promise<IteratorResult<unknown>>;
  return(): Promise<void>;
}

const ABORTED = "Stopped";

/** Sends an abort signal as a port. One message on the port means aborted and carries the reason as text. */
const signals: TransferHandler<AbortSignal, MessagePort> = {
  canHandle: (value): value is AbortSignal => value instanceof AbortSignal,
  serialize(signal) {
    const { port1, port2 } = new MessageChannel();
    const tell = () => port1.postMessage(signal.reason instanceof Error ? signal.reason.message : ABORTED);
    if (signal.aborted) tell();
    else signal.addEventListener("abort", tell, { once: true });
    return [port2, [port2]];
  },
  deserialize(port) {
    const control = new AbortController();
    port.onmessage = ({ data }) => {
      control.abort(new errors.AbortError(String(data)));
      port.close();
    };
    return control.signal;
  },
};

type Options = { signal: AbortSignal };

/** Sends options whose signal has become such a port. */
const options: TransferHandler<Options, { port: MessagePort; rest: object }> = {
  canHandle: (value): value is Options =>
    typeof value === "object" && value !== null && (value as Partial<Options>).signal instanceof AbortSignal,
  serialize({ signal, ...rest }) {
    const [port, transferred] = signals.serialize(signal);
    return [{ port, rest }, transferred];
  },
  deserialize: ({ port, rest }) => ({ ...rest, signal: signals.deserialize(port) }),
};

/**
 * Sends an iterator as a port with `next` and `return`. It produces a value only on request, so a page that is slow or
 * suspended delays the work and does not fill memory.
 */
const streams: TransferHandler<AsyncIterable<unknown>, MessagePort> = {
  canHandle: (value): value is AsyncIterable<unknown> =>
    typeof value === "object" && value !== null && Symbol.asyncIterator in value,
  serialize(iterable) {
    const { port1, port2 } = new MessageChannel();
    const iterator = iterable[Symbol.asyncIterator]();
    const pulls: Pulls = {
      next: () => iterator.next(),
      return: async () => void (await iterator.return?.()),
    };
    expose(pulls, port1);
    return [port2, [port2]];
  },
  deserialize(port) {
    const remote = wrap<Pulls>(port);
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => remote.next(),
        async return() {
          await remote.return();
          remote[releaseProxy]();
          return { done: true, value: undefined };
        },
      }),
    };
  },
};

let installed = false;

/**
 * Registers comlink transfer handlers for signals, options with signals, iterators and errors that keep their class. Call it
 * once per thread.
 */
export function installTransfers(): void {
  if (installed) return;
  installed = true;
  transferHandlers.set("qwench-signal", signals);
  transferHandlers.set("qwench-options", options);
  transferHandlers.set("qwench-stream", streams);
  const plain = transferHandlers.get("throw")!;
  transferHandlers.set("throw", {
    ...plain,
    deserialize(value) {
      try {
        return plain.deserialize(value);
      } catch (error) {
        throw revive(error);
      }
    },
  });
}

/** Restores the class of a Qwench error from its name and message, which are all that cloning keeps. */
export function revive(error: unknown): unknown {
  const { name, message } = (error ?? {}) as Partial<Error>;
  const kinds: Record<string, new (message?: string, options?: ErrorOptions) => Error> = { ...errors };
  return name && Object.hasOwn(kinds, name) ? new kinds[name](message, { cause: error }) : error;
}
