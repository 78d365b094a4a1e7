import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { uniform01 } from "../../../shaders/lib/random.ts";
import { requestGpu } from "../../../src/gpu/device.ts";
import { runCase } from "../../../src/kernels/check.ts";
import { sampleCases } from "../../../src/kernels/sample/sample.cases.ts";
import { type SampleSettings, sample, sampleReference, seenWords } from "../../../src/kernels/sample/sample.ts";
import { openAdapter } from "../../../src/platform/index.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { readTensors } from "../../parity/parity-model.ts";
import { contextBits, type SamplingCase, samplingParity } from "../../parity/parity-sampling.ts";
import { GOLDEN } from "../../shared.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("sample", sampleCases);

const device = useGpu();
const OFF: SampleSettings = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

const SEARCHES = ["row", "tiles"] as const;

/** Draws a token for each row, with its own seed and position. */
async function draw(
  logits: Float32Array,
  settings: SampleSettings & { search?: (typeof SEARCHES)[number] },
  seeds: readonly number[],
  positions: readonly number[],
  seen?: Uint32Array,
): Promise<{ tokens: Uint32Array; logp: Float32Array }> {
  const rows = seeds.length;
  const vocab = logits.length / rows;
  const record = device().recorder();
  const reads = record.scope(() => {
    const { tokens, logp } = sample(record, [{ tensor: record.upload(logits, [rows, vocab], "logits"), start: 0 }], {
      ...settings,
      vocab,
      seeds: record.upload(Uint32Array.from(seeds), [rows], "seeds"),
      positions: record.upload(Uint32Array.from(positions), [rows], "positions"),
      seen: seen && record.upload(seen, [rows, seenWords(vocab)], "seen"),
    });
    return [record.read(tokens), record.read(logp)];
  });
  record.submit();
  const [tokens, logp] = await Promise.all(reads);
  return { tokens: new Uint32Array(tokens, 0, rows), logp: new Float32Array(logp, 0, rows) };
}

function repeat<T extends Float32Array | Uint32Array>(row: T, rows: number): T {
  const out = new (row.constructor as new (length: number) => T)(rows * row.length);
  for (let r = 0; r < rows; r++) out.set(row, r * row.length);
  return out;
}

/** The chi-square value that is exceeded with probability 1e-3 (Wilson and Hilferty). */
function critical(freedom: number): number {
  const a = 2 / (9 * freedom);
  return freedom * (1 - a + 3.0902 * Math.sqrt(a)) ** 3;
}

/** Pearson's statistic; tokens expected fewer than five times are counted together. */
function chiSquare(counts: ArrayLike<number>, probabilities: ArrayLike<number>, draws: number) {
  let [statistic, cells, restCount, rest] = [0, 0, 0, 0];
  for (let i = 0; i < probabilities.length; i++) {
    const expected = probabilities[i] * draws;
    if (expected < 5) {
      rest += expected;
      restCount += counts[i];
      continue;
    }
    statistic += (counts[i] - expected) ** 2 / expected;
    cells++;
  }
  if (rest > 1) {
    statistic += (restCount - rest) ** 2 / rest;
    cells++;
  }
  return { statistic, freedom: cells - 1 };
}

const golden = nodeFolder(join(GOLDEN, "sampling"));

/** The golden settings with their logits and probabilities. */
async function settings(): Promise<
  { setting: SamplingCase; logits: Float32Array; probabilities: ArrayLike<number> }[]
> {
  const tensors = await readTensors(golden, "tensors.safetensors");
  const cases: SamplingCase[] = JSON.parse(await golden.readText("cases.json"));
  return cases.map((setting) => ({
    setting,
    logits: tensors.get(`logits_${setting.i}`)!.data,
    probabilities: tensors.get(`probs_${setting.i}`)!.data,
  }));
}

describe("golden settings", () => {
  it("the processed distribution equals transformers'", async () => {
    const rows = await samplingParity(device(), golden, "sampling");
    expect(rows.length).toBe(8);
    for (const { check, worst, tolerance } of rows) expect(worst <= tolerance, `${check}: ${worst}`).toBe(true);
  });

  it("20 000 draws of each follow the distribution", async () => {
    const [draws, batch] = [20_000, 10_000];
    for (const { setting, logits, probabilities } of await settings()) {
      const vocab = logits.length;
      const bits = contextBits(setting.context, vocab);
      const record = device().recorder();
      const reads = record.scope(() => {
        const many = record.upload(repeat(logits, batch), [batch, vocab], "logits");
        const seen = record.upload(repeat(bits, batch), [batch, bits.length], "seen");
        return Array.from({ length: draws / batch }, (_, n) =>
          record.scope(() => {
            // a hundred sequences at a time, of a hundred tokens each
            const index = Uint32Array.from({ length: batch }, (_, r) => n * batch + r);
            const seeds = record.upload(
              index.map((i) => Math.floor(i / 100)),
              [batch],
              "seeds",
            );
            const positions = record.upload(
              index.map((i) => i % 100),
              [batch],
              "positions",
            );
            const options = { ...setting, vocab, seeds, positions, seen };
            return { read: record.read(sample(record, [{ tensor: many, start: 0 }], options).tokens) };
          }),
        );
      });
      record.submit();
      const counts = new Uint32Array(vocab);
      for (const { read } of reads) for (const token of new Uint32Array(await read, 0, batch)) counts[token]++;
      expect(counts.reduce((a, b) => a + b)).toBe(draws);
      expect(counts.every((n, i) => n === 0 || probabilities[i] > 0)).toBe(true);
      const { statistic, freedom } = chiSquare(counts, probabilities, draws);
      expect(freedom).toBeGreaterThan(0);
      expect(statistic < critical(freedom), `setting ${setting.i}: ${statistic} of ${freedom}`).toBe(true);
    }
  });
});

it("chi-square refuses a distribution that is a little off", () => {
  const counts = [25_500, 24_500, 25_000, 25_000];
  const { statistic, freedom } = chiSquare(counts, [0.25, 0.25, 0.25, 0.25], 100_000);
  expect(freedom).toBe(3);
  expect(critical(3)).toBeCloseTo(16.27, 0);
  expect(statistic).toBeGreaterThan(critical(3));
});

it("without subgroups, distributions and tokens are the same", async () => {
  const { adapter, waiting, f16 } = await openAdapter();
  const gpu = await requestGpu(adapter, { waiting, disable: f16 ? ["subgroups"] : ["subgroups", "f16"] });
  // one case for each way to search and to draw, because each variant without subgroups must be compiled
  const some = sampleCases.filter(({ name }) => /250\+1\+249|top_p 0\.432|greedy true, rep/.test(name));
  expect(some.length).toBe(5); // thresholds in both forms
  for (const item of some) {
    const { worst, what } = await runCase(gpu, item);
    expect(worst <= item.tolerance, `${item.name}, ${what}: ${worst}`).toBe(true);
  }
  await gpu.settle();
  gpu.destroy();
});

it.each(SEARCHES)(
  "a draw depends only on logits, seed and position, not on the row index or the number of rows: by %s",
  async (search) => {
    const rows = 16;
    const row = Float32Array.from({ length: 5004 }, (_, i) => 5 * Math.sin(7 * i * i));
    const all = { temperature: 0.9, top_k: 400, top_p: 0.95, min_p: 0.001, repetition_penalty: 1.1, search };
    const seen = new Uint32Array(seenWords(row.length)).fill(0x1111);
    const seeds = Array.from({ length: rows }, (_, r) => 31 * r + 1);
    const positions = Array.from({ length: rows }, (_, r) => 5 * r);
    const together = await draw(repeat(row, rows), all, seeds, positions, repeat(seen, rows));
    expect(new Set(together.tokens).size).toBeGreaterThan(8);
    const backwards = await draw(
      repeat(row, rows),
      all,
      [...seeds].reverse(),
      [...positions].reverse(),
      repeat(seen, rows),
    );
    expect([...backwards.tokens].reverse()).toEqual([...together.tokens]);
    expect([...backwards.logp].reverse()).toEqual([...together.logp]);
    for (const r of [0, 7, 15]) {
      const alone = await draw(row, all, [seeds[r]], [positions[r]], seen);
      expect(alone.tokens[0]).toBe(together.tokens[r]);
      expect(alone.logp[0]).toBe(together.logp[r]);
    }
  },
);

it("rows whose scores exceed the scratch budget are sampled in parts, with the same draws", async () => {
  const [rows, vocab] = [2100, 8000]; // 2100 rows of 8192 scores: 66 MiB
  const logits = repeat(
    Float32Array.from({ length: vocab }, (_, i) => 4 * Math.sin(11 * i * i)),
    rows,
  );
  const seeds = Array.from({ length: rows }, (_, r) => r % 700);
  const { tokens } = await draw(logits, { ...OFF, top_k: 50 }, seeds, new Array(rows).fill(3));
  expect([...tokens.subarray(1400)]).toEqual([...tokens.subarray(0, 700)]);
  expect(new Set(tokens).size).toBeGreaterThan(30);
});

it("a logit of −∞ is never drawn; a row with a NaN has a NaN log-prob and a token of the vocabulary", async () => {
  const vocab = 100;
  const rows = 64;
  const logits = new Float32Array(rows * vocab).fill(1);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < vocab; i++) if (i % 2 === 0) logits[r * vocab + i] = Number.NEGATIVE_INFINITY;
  }
  logits[5 * vocab + 3] = Number.NaN;
  const seeds = Array.from({ length: rows }, (_, r) => r);
  const parts = [{}, { top_p: 0.9 }, { top_k: 60 }, { min_p: 0.1 }];
  for (const part of parts.flatMap((part) => SEARCHES.map((search) => ({ ...part, search })))) {
    const { tokens, logp } = await draw(logits, { ...OFF, ...part }, seeds, seeds);
    for (let r = 0; r < rows; r++) {
      expect(tokens[r]).toBeLessThan(vocab);
      if (r === 5) expect(Number.isFinite(logp[r])).toBe(false);
      else {
        expect(tokens[r] % 2).toBe(1);
        expect(Math.abs(logp[r] + Math.log(50)) < 1e-5).toBe(true);
      }
    }
  }
});

it("the reference draws by the inverse of the cumulative distribution, in order of the vocabulary", () => {
  const logits = [0.1, 0.2, 0.3, 0.4].map(Math.log);
  const at = (uniform: number, part: Partial<SampleSettings> = {}) =>
    sampleReference(logits, { ...OFF, ...part }, [3], uniform);
  expect([0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, 0.999999].map((u) => at(u).token)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
  expect(at(0, { top_k: 2 }).token).toBe(2);
  expect(at(0, { top_p: 0.65 }).probabilities[1]).toBe(0);
  expect(at(0, { top_p: 0.75 }).probabilities[1]).toBeCloseTo(2 / 9, 12);
  expect(at(0, { min_p: 0.6 }).probabilities[2]).toBeCloseTo(3 / 7, 12);
  expect(at(0, { repetition_penalty: 2 }).probabilities[3]).toBeCloseTo(0.16 / 0.76, 12); // log 0.4 doubled
  expect(at(0, { repetition_penalty: 2 }).logps[3]).toBeCloseTo(Math.log(0.4), 12);
});

it("uniform numbers of neighbouring seeds and positions are spread evenly", () => {
  const counts = new Array(64).fill(0);
  for (let seed = 0; seed < 100; seed++) {
    for (let position = 0; position < 1000; position++) counts[Math.floor(64 * uniform01(seed, position))]++;
  }
  const { statistic, freedom } = chiSquare(counts, new Array(64).fill(1 / 64), 100_000);
  expect(statistic).toBeLessThan(critical(freedom));
});

it("refuses settings outside their range, and shards that do not cover the vocabulary", async () => {
  const row = new Float32Array(8);
  const refused = (part: Partial<SampleSettings>, message: string) =>
    expect(draw(row, { ...OFF, ...part }, [1], [1])).rejects.toThrow(message);
  await refused({ temperature: 0 }, "temperature must be a number above 0, got 0");
  await refused({ temperature: Number.NaN }, "temperature must be a number above 0, got NaN");
  await refused({ top_k: 1.5 }, "top_k must be a whole number, got 1.5");
  await refused({ top_p: 1.5 }, "top_p must be between 0 and 1, got 1.5");
  await refused({ min_p: -1 }, "min_p must be between 0 and 1, got -1");
  await refused({ repetition_penalty: 0 }, "repetition_penalty must be a number above 0, got 0");
  await refused({ repetition_penalty: 1.1 }, "it needs the tokens seen so far");
  const record = device().recorder();
  record.scope(() => {
    const shard = { tensor: record.upload(row, [1, 8], "logits"), start: 0 };
    const one = record.upload(Uint32Array.of(1), [1], "one");
    const options = { ...OFF, vocab: 16, seeds: one, positions: one };
    expect(() => sample(record, [shard], options)).toThrow("Cannot sample from 16 tokens: the shards of logits have 8");
    expect(() => sample(record, [shard, shard], options)).toThrow("starts at 0; it must start at 8");
  });
  record.submit();
});
