import { expose, type Remote, wrap } from "comlink";
import { afterEach, expect, test } from "vitest";
import { installTransfers, type Remoted, revive } from "../../src/client/wire.ts";
import { AbortError, BusyError, DataError, QwenchError } from "../../src/errors.ts";
import { reporting, stoppable } from "../../workers/session/reporting.ts";

installTransfers();
const ports: MessagePort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

/** A service, seen from the other thread. */
function across<T>(service: T): Remote<T> {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  expose(service, port1);
  return wrap<T>(port2);
}

const rejection = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: Error) => error,
  );
const pause = (ms = 5) => new Promise((done) => setTimeout(done, ms));

test("an iteration starts on the first request, and waits between requests", async () => {
  const made: number[] = [];
  async function* count() {
    for (let i = 0; i < 5; i++) {
      made.push(i);
      yield i;
    }
  }
  const remote = across({ count });
  const stream = (await remote.count())[Symbol.asyncIterator]();
  await pause();
  expect(made).toEqual([]);
  expect(await stream.next()).toEqual({ done: false, value: 0 });
  await pause();
  expect(made).toEqual([0]);
  expect((await stream.next()).value).toBe(1);
  const rest: number[] = [];
  for (let next = await stream.next(); !next.done; next = await stream.next()) rest.push(next.value);
  expect(rest).toEqual([2, 3, 4]);
});

test("leaving an iteration aborts its work and waits until it has saved", async () => {
  const said: string[] = [];
  async function* work(signal: AbortSignal) {
    for (let step = 1; ; step++) {
      yield step;
      if (!signal.aborted) continue;
      await pause(20);
      said.push(`saved after ${step}`);
      throw new AbortError("Stopped");
    }
  }
  const remote = across({ start: () => stoppable(work, null) });
  for await (const step of await remote.start()) if (step === 3) break;
  expect(said).toEqual(["saved after 3"]);
});

test("an error during cleanup is not lost", async () => {
  async function* work() {
    yield 1;
    throw new DataError("the disk is gone");
  }
  const remote = across({ start: () => stoppable(work, null) });
  const left = (async () => {
    for await (const _ of await remote.start()) break;
  })();
  expect(await rejection(left)).toMatchObject({ name: "DataError", message: "the disk is gone" });
});

test("a signal crosses with its reason, also one that was aborted before", async () => {
  const remote = across({
    wait: (signal: AbortSignal | null) =>
      new Promise<never>((_, reject) => {
        if (!signal) return reject(new QwenchError("no signal"));
        const stop = () => reject(signal.reason);
        if (signal.aborted) stop();
        else signal.addEventListener("abort", stop);
      }),
  });
  const control = new AbortController();
  const waiting = rejection(remote.wait(control.signal));
  await pause();
  control.abort(new Error("enough"));
  expect(await waiting).toBeInstanceOf(AbortError);
  expect(await waiting).toMatchObject({ message: "enough" });
  expect(await rejection(remote.wait(AbortSignal.abort()))).toBeInstanceOf(AbortError);
  expect(await rejection(remote.wait(null))).toMatchObject({ message: "no signal" });
});

test("options are transferred with their signal, or unchanged without one", async () => {
  const remote = across({
    nested: {
      wait: async (what: string, options: { signal?: AbortSignal; as?: string } = {}) => {
        const { signal, ...rest } = options;
        if (!signal) return [what, rest];
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return [what, rest, (signal.reason as Error).message];
      },
    },
  }) as unknown as Remoted<{ nested: { wait(what: string, options?: object): unknown } }>;
  const control = new AbortController();
  const waiting = remote.nested.wait("a", { signal: control.signal, as: "model" });
  control.abort(new Error("enough"));
  expect(await waiting).toEqual(["a", { as: "model" }, "enough"]);
  expect(await remote.nested.wait("b", { as: "data" })).toEqual(["b", { as: "data" }]);
  expect(await remote.nested.wait("c", { signal: undefined })).toEqual(["c", {}]);
  expect(await remote.nested.wait("d")).toEqual(["d", {}]);
});

test("errors of ours keep their class, others their name", async () => {
  const remote = across({
    fail(kind: string) {
      if (kind === "busy") throw new BusyError("another tab trains");
      throw new RangeError("too far");
    },
  });
  const busy = await rejection(remote.fail("busy"));
  expect(busy).toBeInstanceOf(BusyError);
  expect(busy).toMatchObject({ name: "BusyError", message: "another tab trains" });
  expect(await rejection(remote.fail("other"))).toMatchObject({ name: "RangeError", message: "too far" });
  expect(revive({ name: "constructor", message: "x" })).toEqual({ name: "constructor", message: "x" });
  expect(revive(null)).toBeNull();
});

test("of progress only the newest waits, other reports all arrive in order, and so does the result", async () => {
  const seen: string[] = [];
  const steps = reporting(async (report: (event: { type: string; n: number }) => void) => {
    for (let n = 1; n <= 100; n++) {
      report({ type: n % 40 === 0 ? "solved" : "progress", n });
      if (n % 50 === 0) await pause(150);
    }
    return "done";
  });
  let next = await steps.next();
  while (!next.done) {
    seen.push(`${next.value.type} ${next.value.n}`);
    next = await steps.next();
  }
  expect(next.value).toBe("done");
  expect(seen).toEqual(["progress 39", "solved 40", "progress 50", "progress 79", "solved 80", "progress 100"]);
  const failing = reporting(async (report: (event: { type: string }) => void) => {
    report({ type: "progress" });
    throw new DataError("broken");
  });
  expect((await failing.next()).value).toEqual({ type: "progress" });
  expect(await rejection(failing.next())).toBeInstanceOf(DataError);
});
