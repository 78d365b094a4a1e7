import { expect, it } from "vitest";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import { profileOf } from "../../src/gpu/profile.ts";
import { tileCandidates, tileKey } from "../../src/kernels/matmul/matmul-tile.ts";
import { exportTuning } from "../../src/kernels/matmul/matmul-tune.ts";
import type { PreparedBase } from "../../src/session/open.ts";
import { recallTuning, type TuningStore, tune } from "../../src/session/tune.ts";

/** A device of this adapter, with WebGPU's default limits. */
function named(name: string) {
  const profile = profileOf({
    name,
    vendor: "",
    architecture: "",
    fallback: false,
    subgroups: null,
    subgroupSizeControl: false,
  });
  return fakeGpu({ limits: { maxBufferSize: 256 << 20, maxStorageBufferBindingSize: 128 << 20 }, profile });
}

/** A store in memory, and what was asked of it. */
function store(texts: Record<string, string> = {}): TuningStore & { texts: Record<string, string> } {
  return {
    texts,
    read: async (adapter) => texts[adapter] ?? null,
    write: async (adapter, text) => void (texts[adapter] = text),
  };
}

it("imports the measurements of this adapter only", async () => {
  const measured = named("Apple M2");
  const [tile] = tileCandidates(measured, false, true);
  measured.tuning.set(tileKey(false, true, "f32", 72), JSON.stringify(tile));
  const kept = store({ "Apple M2": exportTuning(measured), other: "{}" });
  const [same, other] = [named("Apple M2"), named("Arc")];
  await recallTuning(same, kept);
  await recallTuning(other, kept);
  expect([...same.tuning.keys()]).toEqual([...measured.tuning.keys()]);
  expect(other.tuning.size).toBe(0);
});

it("measures nothing for a small model", async () => {
  const gpu = named("Apple M2");
  const said: string[] = [];
  const kept = store();
  const prepared = { forecast: { parameters: 1000 } } as PreparedBase;
  await tune(gpu, prepared, kept, { onBegin: (what) => said.push(what) });
  expect([said, kept.texts, gpu.tuning.size]).toEqual([[], {}, 0]);
});
