import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BusyError } from "../../src/errors.ts";
import { availableMemory } from "../../workers/session/forecast.ts";
import type { OpenGpu } from "../../workers/session/gpu.ts";
import { lockTraining, runsHeld, takeLock } from "../../workers/session/locks.ts";

/** Web Locks of one agent: exclusive, first come, first served. */
class Locks {
  readonly held = new Map<string, Promise<unknown>>();

  async request(name: string, { signal }: { signal: AbortSignal }, work: () => Promise<unknown>): Promise<unknown> {
    while (this.held.has(name)) {
      const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      await Promise.race([this.held.get(name), aborted]);
    }
    const done = work();
    this.held.set(name, done);
    try {
      return await done;
    } finally {
      this.held.delete(name);
    }
  }

  async query() {
    return { held: [...this.held.keys()].map((name) => ({ name })) };
  }
}

beforeEach(() => void vi.stubGlobal("navigator", { locks: new Locks(), userAgent: "Test" }));
afterEach(() => vi.unstubAllGlobals());

test("a lock has one holder; another gets the reason, and the lock after its release", async () => {
  const release = await takeLock("a", "somebody has it");
  const busy = takeLock("a", "somebody has it");
  await expect(busy).rejects.toThrow(BusyError);
  await expect(busy).rejects.toThrow("somebody has it");
  await release();
  await (await takeLock("a", "somebody has it"))();
});

test("one run trains at a time, and its lock identifies it", async () => {
  const release = await lockTraining("run-7");
  expect([...(await runsHeld())]).toEqual(["run-7"]);
  await expect(lockTraining("run-8")).rejects.toThrow("Another tab of this site is training");
  await release();
  expect((await runsHeld()).size).toBe(0);
  await (await lockTraining("run-8"))();
});

test("memory is what a recipe allows, a phone's share, three quarters of a software adapter's machine, or unknown", () => {
  const opened = (software: boolean) => ({ platform: { software } }) as OpenGpu;
  expect(availableMemory(opened(false), 2)).toBe(2e9);
  expect(availableMemory(opened(false), null)).toBeNull();
  vi.stubGlobal("navigator", { userAgent: "Test", deviceMemory: 8 });
  expect(availableMemory(opened(true), null)).toBe(6 * 2 ** 30);
  vi.stubGlobal("navigator", { userAgent: "Mozilla/5.0 (iPhone; …)", deviceMemory: 8 });
  expect(availableMemory(opened(true), null)).toBe(1.4e9);
});
