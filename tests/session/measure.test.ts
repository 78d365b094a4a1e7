import { expect, it } from "vitest";
import { requestGpu } from "../../src/gpu/device.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { openAdapter } from "../../src/platform/index.ts";
import { measureTimes } from "../../src/session/device-times.ts";
import { knowsWidth } from "../../src/session/measure.ts";
import { useGpu } from "../kernels/harness.ts";

const gpu = useGpu();
const small = parseModelConfig(
  {
    model_type: "qwen2",
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 630,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
  },
  "a test",
);

it("measures an adapter once, frees its memory, keeps the result, and stops when it is told to", async () => {
  const texts = new Map<string, string>();
  const store = {
    read: async (adapter: string) => texts.get(adapter) ?? null,
    write: async (adapter: string, text: string) => void texts.set(adapter, text),
  };
  const own = gpu().again();
  const stop = new AbortController();
  const stopped = measureTimes(own, store, small, { signal: stop.signal, onProgress: () => stop.abort() });
  await expect(stopped).rejects.toThrow();
  expect(texts.size).toBe(0);

  const { rates, runs } = await measureTimes(own, store, small);
  expect(own.pool.ledger.allocated).toBe(0);
  expect([rates.length, runs, knowsWidth(rates, small)]).toEqual([1, [], true]);
  for (const kind of ["train", "forward", "decode"] as const) {
    const { layer, operation } = rates[0][kind];
    expect(layer + operation).toBeGreaterThan(0);
    expect(Math.min(layer, operation)).toBeGreaterThanOrEqual(0);
  }
  let asked = 0;
  expect(await measureTimes(own, store, small, { onProgress: () => asked++ })).toEqual({ rates, runs });
  expect(asked).toBe(0);
});

it("gives up if compiling takes longer than it may, and keeps nothing", async () => {
  const { adapter, f16 } = await openAdapter();
  const fresh = await requestGpu(adapter, { disable: f16 ? [] : ["f16"] }); // has compiled nothing
  const store = { read: async () => null, write: () => Promise.reject(new Error("nothing was measured")) };
  const seen: string[] = [];
  const onProgress = (_done: number, _total: number, what: string) => seen.push(what);
  expect(await measureTimes(fresh, store, small, { compileWithin: 0, onProgress })).toEqual({ rates: [], runs: [] });
  expect(seen).not.toContain("measuring");
  expect(fresh.pool.ledger.allocated).toBe(0);
  fresh.destroy();
});
