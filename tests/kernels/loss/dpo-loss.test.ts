import { describe, expect, it } from "vitest";
import { dpoLossOf, dpoLossTypes } from "../../../shaders/loss/dpo-losses.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { dpoLossCases } from "../../../src/kernels/loss/dpo-loss.cases.ts";
import {
  dpoLoss,
  dpoLossReference,
  type PairLossOptions,
  pairStats,
  sequenceSumReference,
} from "../../../src/kernels/loss/dpo-loss.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("dpo_loss", dpoLossCases);

const starts = [0, 3, 10, 14, 16, 21, 30];
const n = 30;
const logp = Float64Array.from({ length: n }, (_, i) => -2 + Math.sin(7 * i + 1));
const rows = {
  ref_logp: sequenceSumReference(logp, starts).map((sum, s) => sum + Math.sin(3 * s)),
  tokens: Float64Array.from([3, 7, 4, 2, 5, 9]),
  starts,
};

it("every loss has a case", () => {
  for (const loss of dpoLossTypes) expect(dpoLossCases.some(({ name }) => name.includes(`, ${loss},`))).toBe(true);
});

describe("the reference gradient agrees with finite differences", () => {
  it.each(dpoLossTypes)("%s", (loss_type) => {
    const smoothed = dpoLossOf(loss_type).smoothed;
    const options: PairLossOptions = { loss_type, beta: 0.4, label_smoothing: smoothed ? 0.15 : 0, weight: 0.5 };
    const f = (x: Float64Array) =>
      0.5 * dpoLossReference({ ...rows, logp: x }, options).loss.reduce((sum, loss) => sum + loss, 0);
    const { dlogp } = dpoLossReference({ ...rows, logp }, options);
    expect(gradientError(f, logp, dlogp, n)).toBeLessThan(1e-7);
    expect(dlogp.some((value) => value !== 0)).toBe(true);
  });
});

it("a margin of hundreds has a loss and a slope of 0 on the right side, and a finite loss on the wrong one", () => {
  const of = (c: number, r: number) =>
    dpoLossOf("sigmoid").reference({ c, r, nc: 1, nr: 1 }, { beta: 1, label_smoothing: 0 });
  expect(of(400, -400).loss).toBeCloseTo(0, 12);
  expect(of(-400, 400)).toEqual({ loss: 800, dc: -1, dr: 1 });
});

const device = useGpu();

it("refuses a completion without its pair, and lengths that differ", () => {
  const record = device().recorder();
  const make = (shape: readonly number[], label: string) => record.empty(shape, "f32", label);
  const starts = (count: number) => record.upload(new Uint32Array(count), [count], "starts");
  const options: PairLossOptions = { loss_type: "sigmoid", beta: 0.1, label_smoothing: 0, weight: 1 };
  const go = (completions: number, ref: number) =>
    dpoLoss(
      record,
      make([9], "logp"),
      { ref_logp: make([ref], "ref_logp"), tokens: make([completions], "tokens"), starts: starts(completions + 1) },
      pairStats(record, 2),
      options,
    );
  expect(() => go(3, 3)).toThrow("3 completions: each pair needs a chosen and a rejected one");
  expect(() => go(4, 2)).toThrow("ref_logp [2] must be [4]");
});
