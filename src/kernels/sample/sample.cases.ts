import { uniform01 } from "../../../shaders/lib/random.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import { markSeen, type SampleSettings, sample, sampleReference, seenWords } from "./sample.ts";

interface Setting extends Partial<SampleSettings> {
  rows: number;
  /** columns of each shard */
  shards: number[];
  /** logits are in ±scale; 0 makes them all equal */
  scale: number;
  /** logits are multiples of this: many are equal */
  step?: number;
  /** added to every other logit */
  shift?: number;
}

const HALVES = [37984, 37984];
const ALL = { repetition_penalty: 1.3, temperature: 0.8, top_k: 20, top_p: 0.9, min_p: 0.02 };

const SETTINGS: Setting[] = [
  { rows: 1, shards: [1], scale: 3 },
  { rows: 2, shards: [1], scale: 3, ...ALL },
  { rows: 5, shards: [63], scale: 3, temperature: 0.7 },
  { rows: 16, shards: [97], scale: 6 },
  { rows: 16, shards: [97], scale: 6, temperature: 0.3, top_k: 10 },
  { rows: 16, shards: [97], scale: 4, top_p: 0.9 },
  { rows: 16, shards: [97], scale: 4, min_p: 0.1 },
  { rows: 16, shards: [97], scale: 6, repetition_penalty: 1.3 },
  { rows: 16, shards: [97], scale: 6, ...ALL },
  { rows: 3, shards: [97], scale: 4, top_k: 1000, top_p: 1, temperature: 2 },
  { rows: 3, shards: [97], scale: 4, top_k: 1 },
  { rows: 3, shards: [97], scale: 4, top_p: 0 },
  { rows: 5, shards: [500, 1, 502], scale: 5, top_k: 40, top_p: 0.95 },
  { rows: 5, shards: [500, 503], scale: 5, repetition_penalty: 0.8, top_p: 0.99, min_p: 0.001 },
  { rows: 2, shards: [1003], scale: 0 },
  { rows: 2, shards: [1003], scale: 0, top_k: 7 },
  // of equal logits at the top-p threshold, those with the highest ids are kept
  { rows: 3, shards: [501, 502], scale: 0, top_p: 0.3501 },
  { rows: 2, shards: HALVES, scale: 0, top_p: 0.43210123 },
  { rows: 8, shards: [501, 502], scale: 4, step: 0.5, top_p: 0.8 },
  { rows: 8, shards: [501, 502], scale: 4, step: 0.5, top_k: 90, top_p: 0.7, temperature: 0.9 },
  // 0.9 of 20 equal logits would be 18, or 19 after rounding
  { rows: 8, shards: [1003], scale: 4, step: 0.5, ...ALL, top_p: 0.91 },
  { rows: 2, shards: HALVES, scale: 10, step: 1, top_p: 0.9 },
  { rows: 4, shards: [501, 502], scale: 3, shift: 1e4, top_p: 0.9 },
  { rows: 4, shards: [501, 502], scale: 3, shift: -1e4, top_k: 50 },
  { rows: 2, shards: HALVES, scale: 14 },
  { rows: 2, shards: HALVES, scale: 14, ...ALL },
  { rows: 2, shards: HALVES, scale: 14, top_k: 3000 },
  { rows: 3, shards: HALVES, scale: 12, top_p: 0.5 },
  { rows: 3, shards: HALVES, scale: 9, greedy: true },
  { rows: 16, shards: [97], scale: 6, greedy: true, repetition_penalty: 1.5 },
  { rows: 2, shards: [40, 23], scale: 0, greedy: true },
  // those of a thousand columns, with the threads of fewer
  { rows: 5, shards: [250, 1, 249], scale: 5, top_k: 40, top_p: 0.95 },
  { rows: 5, shards: [250, 250], scale: 5, repetition_penalty: 0.8, top_p: 0.99, min_p: 0.001 },
  { rows: 2, shards: [501], scale: 0 },
  { rows: 2, shards: [501], scale: 0, top_k: 7 },
  { rows: 3, shards: [250, 251], scale: 0, top_p: 0.3501 },
  { rows: 8, shards: [250, 251], scale: 4, step: 0.5, top_p: 0.8 },
  { rows: 8, shards: [250, 251], scale: 4, step: 0.5, top_k: 90, top_p: 0.7, temperature: 0.9 },
  { rows: 4, shards: [250, 251], scale: 3, shift: 1e4, top_p: 0.9 },
  { rows: 4, shards: [250, 251], scale: 3, shift: -1e4, top_k: 50 },
];

const shares = (i: number) => i % 4 === 1;

/** Who finds thresholds: both forms where there are any. */
const searchesOf = ({ greedy, top_k, top_p, min_p }: Setting) =>
  !greedy && (top_k || top_p !== undefined || min_p) ? (["row", "tiles"] as const) : (["row"] as const);

/** Cases of sampling: vocabularies, shards and settings, for the distribution, tokens and log-probs. */
export const sampleCases: KernelCase[] = [
  ...SETTINGS.flatMap((setting) => searchesOf(setting).map((search) => sampleCase(setting, search))),
  {
    kernel: "markSeen",
    name: "[5] of 97",
    tolerance: 0,
    run(check) {
      const before = Array.from({ length: 5 * 4 }, (_, i) => (i === 4 ? 0x10 : 0));
      const seen = { ...check.integers(before, "seen"), shape: [5, 4] };
      const tokens = [0, 35, 96, 30, 4000];
      markSeen(check.record, seen, check.integers(tokens, "tokens"));
      const want = Uint32Array.from(before);
      for (const [r, token] of tokens.slice(0, 4).entries()) want[4 * r + (token >>> 5)] |= 1 << (token & 31);
      check.compare("seen", seen, new Float32Array(want.buffer));
    },
  },
];

function sampleCase(setting: Setting, search: "row" | "tiles"): KernelCase {
  const { rows, shards, scale, step = 0, shift = 0, ...given } = setting;
  const settings: SampleSettings = {
    ...{ temperature: 1, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 },
    ...given,
  };
  const vocab = shards.reduce((a, b) => a + b);
  const about = Object.entries(given).map(([key, value]) => `${key} ${value}`);
  return {
    kernel: "sample",
    name: [
      `[${rows},${shards.join("+")}] ±${scale}${step ? ` in steps of ${step}` : ""} about ${shift}`,
      ...about,
      ...(search === "tiles" ? ["thresholds by tiles"] : []),
    ].join(", "),
    tolerance: 1e-5,
    run(check) {
      const { logits, whole } = logitsOf(check, setting);
      const ids = Array.from({ length: vocab }, (_, i) => i).filter(shares);
      const bits = new Array<number>(rows * seenWords(vocab)).fill(0);
      for (let r = 0; r < rows; r++) {
        for (const id of ids) bits[r * seenWords(vocab) + (id >>> 5)] |= 1 << (id & 31);
      }
      const seen = { ...check.integers(bits, "seen"), shape: [rows, seenWords(vocab)] };
      const seeds = Array.from({ length: rows }, (_, r) => 1000 + 7 * r);
      const want = seeds.map((seed, r) => drawn(whole.subarray(r * vocab, (r + 1) * vocab), settings, ids, seed));
      const got = sample(check.record, logits, {
        ...settings,
        vocab,
        seen,
        seeds: check.integers(seeds, "seeds"),
        positions: check.integers(
          want.map(({ position }) => position),
          "positions",
        ),
        probabilities: true,
        search,
      });
      if (got.probabilities) {
        check.compare("probabilities", got.probabilities, flat(want.map(({ probabilities }) => probabilities)));
      }
      check.compare("tokens", got.tokens, new Float32Array(Uint32Array.from(want, ({ token }) => token).buffer));
      const logp = want.map(({ logps, token }) => logps[token]);
      check.compare("logp", got.logp, logp);
    },
  };
}

function logitsOf(check: CaseRun, { rows, shards, scale, step = 0, shift = 0 }: Setting) {
  const rounded = (value: number) => (step ? step * Math.round(value / step) : value);
  const vocab = shards.reduce((a, b) => a + b);
  const whole = new Float64Array(rows * vocab);
  let start = 0;
  const logits = shards.map((cols, n) => {
    const values = Float32Array.from(
      { length: rows * cols },
      (_, i) => rounded(scale * check.random()) + (i % 2) * shift,
    );
    for (let r = 0; r < rows; r++) whole.set(values.subarray(r * cols, (r + 1) * cols), r * vocab + start);
    start += cols;
    return { tensor: check.given(values, [rows, cols], `logits ${n}`).tensor, start: start - cols };
  });
  return { logits, whole };
}

/** The reference at the first position whose draw does not depend on rounding: the number is not close to a border. */
function drawn(logits: Float64Array, settings: SampleSettings, seen: readonly number[], seed: number) {
  const { probabilities, logps, token } = sampleReference(logits, settings, seen, 0);
  const sums: number[] = [];
  let sum = 0;
  for (const p of probabilities) sums.push((sum += p));
  for (let position = 0; ; position++) {
    if (settings.greedy) return { probabilities, logps, token, position };
    const uniform = uniform01(seed, position);
    const at = sums.findIndex((s, i) => probabilities[i] > 0 && s > uniform);
    const margin = Math.min(uniform - (sums[at - 1] ?? 0), sums[at] - uniform);
    // the first and last kept tokens have a neighbour on one side only
    if (margin > 4e-6 || probabilities[at] > 1 - 1e-4) return { probabilities, logps, token: at, position };
  }
}

function flat(arrays: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(arrays.reduce((n, a) => n + a.length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}
