/** A thread that answers one request at a time. */
export interface Thread<Request, Reply> {
  post(request: Request): void;
  onReply(handler: (reply: Reply) => void): void;
  /** `memory`: the thread's heap was full */
  onEnd(handler: (end: { reason: string; memory: boolean }) => void): void;
  end(): Promise<void>;
}

/** A worker of a browser or Deno as a {@link Thread}. */
export function webThread<Request, Reply>(worker: Worker): Thread<Request, Reply> {
  return {
    post: (request) => worker.postMessage(request),
    onReply(handler) {
      worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => handler(data));
    },
    onEnd(handler) {
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        handler({ reason: event.message || "the worker did not load", memory: false });
      });
    },
    async end() {
      worker.terminate();
    },
  };
}
