import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { headSoftmaxCases } from "../../../src/kernels/head/head-softmax.cases.ts";
import {
  headFinish,
  headGradientReference,
  headReference,
  headState,
  headStatistics,
} from "../../../src/kernels/head/head-softmax.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("head_softmax", headSoftmaxCases);

it.each([0, 0.1])("the reference gradient agrees with finite differences, smoothing %s", (smoothing) => {
  const logits = Float64Array.from({ length: 3 * 11 }, (_, i) => 3 * Math.sin(7 * i + 1));
  const targets = [4, 0, 10];
  const slopes = { objective: [0.5, -2, 1], entropy: smoothing > 0 ? [0.3, 1, -0.7] : null };
  const dlogits = headGradientReference(logits, targets, slopes, 1.5, smoothing);
  const total = (moved: Float64Array) => {
    const { objective, entropy } = headReference(moved, targets, 1.5, smoothing);
    return objective.reduce((sum, v, r) => sum + v * slopes.objective[r] + (slopes.entropy?.[r] ?? 0) * entropy[r], 0);
  };
  expect(gradientError(total, logits, dlogits, 33)).toBeLessThan(1e-7);
});

it("of equal logits: log-prob −ln V, entropy ln V, and the first is the most likely", () => {
  const { logp, entropy, objective, correct } = headReference(new Float64Array(2 * 8).fill(5), [0, 3], 1, 0.2);
  expect(logp[1]).toBeCloseTo(-Math.log(8), 12);
  expect(entropy[1]).toBeCloseTo(Math.log(8), 12);
  expect(objective[1]).toBeCloseTo(-Math.log(8), 12);
  expect([...correct]).toEqual([1, 0]);
});

const device = useGpu();

it("takes the first of equal logits, over threads and shards", async () => {
  const gpu = device();
  const [rows, cols] = [4, 1024];
  const record = gpu.recorder();
  const logits = gpu.upload(new Float32Array(rows * cols).fill(2), [rows, cols], "f32", "logits", "scratch");
  const targets = gpu.upload(Uint32Array.of(0, 1, 700, 1024), [rows], "u32", "targets", "scratch");
  const state = headState(record, rows);
  headStatistics(record, logits, targets, state, { start: 0, inverseTemperature: 1, first: true });
  headStatistics(record, logits, targets, state, { start: cols, inverseTemperature: 1, first: false });
  const { correct, entropy } = headFinish(record, state, { vocab: 2 * cols, labelSmoothing: 0 });
  const reads = [record.read(correct), record.read(entropy)];
  record.submit();
  expect([...new Float32Array(await reads[0], 0, rows)]).toEqual([1, 0, 0, 0]);
  const nats = new Float32Array(await reads[1], 0, rows);
  expect(nats.every((n) => Math.abs(n - Math.log(2 * cols)) < 1e-5)).toBe(true);
  gpu.drop(logits, targets);
});

it("a logit that is NaN makes the row's log-prob not finite, and only that row's", async () => {
  const gpu = device();
  const values = new Float32Array(2 * 8).fill(1);
  values[3] = Number.NaN;
  const record = gpu.recorder();
  const logits = gpu.upload(values, [2, 8], "f32", "logits", "scratch");
  const targets = gpu.upload(Uint32Array.of(0, 0), [2], "u32", "targets", "scratch");
  const state = headState(record, 2);
  headStatistics(record, logits, targets, state, { start: 0, inverseTemperature: 1, first: true });
  const read = record.read(headFinish(record, state, { vocab: 8, labelSmoothing: 0 }).logp);
  record.submit();
  const logp = new Float32Array(await read, 0, 2);
  expect(Number.isFinite(logp[0])).toBe(false);
  expect(Math.abs(logp[1] + Math.log(8)) < 1e-5).toBe(true);
  gpu.drop(logits, targets);
});

it("refuses lengths that differ and ids past 2^24", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const shard = { start: 0, inverseTemperature: 1, first: true };
  const [logits, state] = [make([3, 8], "logits"), headState(record, 3)];
  expect(() => headStatistics(record, logits, make([2], "targets"), state, shard)).toThrow("targets [2] must be [3]");
  const far = { ...shard, start: 2 ** 24 };
  expect(() => headStatistics(record, logits, make([3], "targets"), state, far)).toThrow("at most 16777216");
});
