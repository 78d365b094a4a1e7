import type { KernelCase } from "../check.ts";
import { widenBf16 } from "../elementwise.ts";
import {
  headFinish,
  headGradient,
  headGradientReference,
  headReference,
  headState,
  headStatistics,
} from "./head-softmax.ts";

interface Setting {
  rows: number;
  /** columns of each shard */
  shards: number[];
  scale: number;
  /** added to every other logit: at ten thousand, with near ties, sums cancel */
  shift?: number;
  inverseTemperature: number;
  labelSmoothing: number;
  gradientTolerance?: number;
  /** whether the loss depends on entropies */
  entropy?: boolean;
  /** logits are stored as bf16, and so are their gradients: half a step of bf16 is at most 2^-8 of a number */
  bf16?: boolean;
}

const SETTINGS: Setting[] = [
  { rows: 1, shards: [1], scale: 3, inverseTemperature: 1, labelSmoothing: 0 },
  { rows: 5, shards: [63], scale: 3, inverseTemperature: 1, labelSmoothing: 0 },
  { rows: 65, shards: [40, 1, 24], scale: 4, inverseTemperature: 1, labelSmoothing: 0.1 },
  { rows: 7, shards: [500, 503], scale: 8, inverseTemperature: 1 / 0.7, labelSmoothing: 0 },
  { rows: 65, shards: [100, 29], scale: 3, inverseTemperature: 1 / 0.9, labelSmoothing: 0, entropy: true },
  { rows: 9, shards: [64, 64], scale: 6, inverseTemperature: 1, labelSmoothing: 0.1, entropy: true },
  { rows: 63, shards: [894, 109], scale: 8, inverseTemperature: 1, labelSmoothing: 0.1 },
  { rows: 3, shards: [37984], scale: 12, inverseTemperature: 2, labelSmoothing: 0.05 },
  { rows: 7, shards: [500, 504], scale: 8, inverseTemperature: 1 / 0.7, labelSmoothing: 0.1, bf16: true },
  { rows: 63, shards: [1096], scale: 8, inverseTemperature: 1, labelSmoothing: 0, entropy: true, bf16: true },
  {
    rows: 6,
    shards: [501, 502],
    scale: 3,
    shift: 1e4,
    inverseTemperature: 1,
    labelSmoothing: 0.1,
    gradientTolerance: 1e-3, // one step of f32 at 1e4, in lse
  },
  {
    rows: 6,
    shards: [512, 64],
    scale: 3,
    shift: -1e4,
    inverseTemperature: 1,
    labelSmoothing: 0,
    gradientTolerance: 1e-3,
  },
];

/** Cases of the head's softmax: vocabularies, shards, temperatures and tolerances. */
export const headSoftmaxCases: KernelCase[] = SETTINGS.flatMap((setting) => {
  const { rows, shards, scale, shift = 0, inverseTemperature, labelSmoothing, bf16 = false } = setting;
  const { gradientTolerance = bf16 ? 2 ** -8 : 2e-5 } = setting;
  const vocab = shards.reduce((a, b) => a + b);
  const name = `[${rows},${shards.join("+")}] about ${shift}, ε ${labelSmoothing}${setting.entropy ? ", entropy" : ""}${bf16 ? ", bf16" : ""}`;
  const prepare = (check: Parameters<KernelCase["run"]>[0]) => {
    const list = Array.from({ length: rows }, (_, r) => Math.floor(((check.random() + 1) / 2) * vocab) * (r % 5 && 1));
    const whole = new Float64Array(rows * vocab);
    const starts = shards.map((_, i) => shards.slice(0, i).reduce((a, b) => a + b, 0));
    const logits = shards.map((cols, n) => {
      const values = Float32Array.from({ length: rows * cols }, (_, i) => scale * check.random() + (i % 2) * shift);
      const { tensor, values: stored } = check.given(values, [rows, cols], `logits ${n}`, bf16 ? "bf16" : "f32");
      for (let r = 0; r < rows; r++) {
        whole.set(stored.subarray(r * cols, (r + 1) * cols), r * vocab + starts[n]);
      }
      return tensor;
    });
    // some targets are the most likely token, so that `correct` is not all zeros
    for (let r = 0; r < rows; r += 3) {
      const row = whole.subarray(r * vocab, (r + 1) * vocab);
      list[r] = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    }
    const targets = check.integers(list, "targets");
    const state = headState(check.record, rows);
    logits.forEach((shard, n) => {
      headStatistics(check.record, shard, targets, state, { start: starts[n], inverseTemperature, first: n === 0 });
    });
    return { list, whole, starts, logits, targets, state };
  };
  return [
    {
      kernel: "headSoftmax",
      name,
      tolerance: 1e-5,
      run(check) {
        const { list, whole, state } = prepare(check);
        const got = headFinish(check.record, state, { vocab, labelSmoothing });
        const want = headReference(whole, list, inverseTemperature, labelSmoothing);
        for (const key of ["logp", "objective", "entropy", "lse", "correct", "mean"] as const) {
          check.compare(key, got[key], want[key]);
        }
      },
    },
    {
      kernel: "headSoftmax",
      name: `${name}, backward`,
      tolerance: gradientTolerance,
      run(check) {
        const { list, whole, starts, logits, targets, state } = prepare(check);
        const dobjective = check.input([rows], "dobjective");
        const dentropy = setting.entropy ? check.input([rows], "dentropy") : null;
        const slopes = { objective: dobjective.tensor, entropy: dentropy?.tensor ?? null };
        const done = headFinish(check.record, state, { vocab, labelSmoothing });
        const values = { objective: dobjective.values, entropy: dentropy?.values ?? null };
        const want = headGradientReference(whole, list, values, inverseTemperature, labelSmoothing);
        logits.forEach((shard, n) => {
          const options = { start: starts[n], inverseTemperature, vocab, labelSmoothing };
          headGradient(check.record, shard, targets, done, slopes, options);
          const cols = shards[n];
          const part = Float64Array.from({ length: rows * cols }, (_, i) => {
            return want[Math.floor(i / cols) * vocab + starts[n] + (i % cols)];
          });
          check.compare(`dlogits ${n}`, bf16 ? widenBf16(check.record, shard) : shard, part);
        });
      },
    },
  ];
});
