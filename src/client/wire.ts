import { expose, releaseProxy, type TransferHandler, transferHandlers, wrap } from "comlink";
import * as errors from "../errors.ts";
import type { Trainer } from "./types.ts";

/** What a worker is told before anything else. */
export interface WorkerOptions {
  /** folder of the embedded model's folder `tiny/`, with a slash at its end */
  assets: string;
  /** root of the hub or of a mirror; null: huggingface.co */
  hubUrl: string | null;
  /** access token for gated models; kept in memory only */
  token: string | null;
  /** name of a Web Lock that the worker holds for as long as it lives */
  lock: string;
}

/** A trainer as its worker offers it: all of `Trainer` but what only a page can do. */
export type TrainerService = Omit<Trainer, "storage" | "terminate" | "lost"> & {
  storage: Omit<Trainer["storage"], "persist">;
  /** Comes first. @param lost told, in a sentence, when the GPU was lost */
  begin(options: WorkerOptions, lost: (why: string) => void): Promise<void>;
};

/** A service as another thread sees it: what its methods give comes as promises. */
export type Remoted<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : Remoted<T[K]>;
};
export type RemoteTrainer = Remoted<TrainerService>;

/** The two methods of an iteration, as a port offers them. */
interface Pulls {
  next(): Promise<IteratorResult<unknown>>;
  return(): Promise<void>;
}

const ABORTED = "Stopped";

/** A signal crosses as a port on which one message means aborted, with the reason as text. */
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

/** Options cross with their signal as such a port. */
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
 * An iteration crosses as a port with `next` and `return`. Nothing is made before it is asked for, so that a page that
 * falls behind, or sleeps, holds the work back instead of filling the memory.
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

/** Teaches comlink signals, options with signals, iterations and errors that keep their class, once a thread. */
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

/** An error of ours that lost its class on the way, which keeps name and message: one of the same class. */
export function revive(error: unknown): unknown {
  const { name, message } = (error ?? {}) as Partial<Error>;
  const kinds: Record<string, new (message?: string, options?: ErrorOptions) => Error> = { ...errors };
  return name && Object.hasOwn(kinds, name) ? new kinds[name](message, { cause: error }) : error;
}
