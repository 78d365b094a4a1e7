import { describe, expect, it } from "vitest";
import { GRPO_LOSS_DEFAULTS, GRPO_LOSSES, TOKEN_TERMS } from "../../../shaders/loss/grpo-losses.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { grpoLossCases } from "../../../src/kernels/loss/grpo-loss.cases.ts";
import {
  grpoLoss,
  grpoLossReference,
  grpoStats,
  type RowLossOptions,
  sequenceLogRatio,
  sequenceLogRatioReference,
} from "../../../src/kernels/loss/grpo-loss.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("grpo_loss", grpoLossCases);

const wave = (n: number, phase: number, scale = 1) =>
  Float64Array.from({ length: n }, (_, i) => scale * Math.sin(7 * i + phase));
const total = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const PLAIN: RowLossOptions = { loss_type: "grpo", ...GRPO_LOSS_DEFAULTS, epsilon_high: 0.28, beta: 0 };

it("every token term has cases", () => {
  const tried = grpoLossCases.map(({ name }) =>
    Object.entries(GRPO_LOSSES).find(([loss]) => name.includes(`, ${loss},`)),
  );
  expect(new Set(tried.map((entry) => entry?.[1].term))).toEqual(new Set(Object.keys(TOKEN_TERMS)));
});

describe("the reference gradient agrees with finite differences", () => {
  const n = 24;
  const logp = wave(n, 1).map((v) => v - 2);
  const advantage = wave(n, 2);
  const ref_logp = wave(n, 3).map((v) => v - 2);
  const old_logp = logp.map((lp, i) => lp + 0.6 * Math.cos(5 * i));

  it.each([PLAIN, { ...PLAIN, beta: 0.3 }, { ...PLAIN, delta: 1.4, beta: 0.3 }, { ...PLAIN, delta: 1.1 }])(
    "token level, %o",
    (options) => {
      const rows = { advantage, weight: wave(n, 4), old_logp, log_ratio: null, ref_logp };
      const f = (x: Float64Array) => total(grpoLossReference({ ...rows, logp: x }, options).loss);
      expect(gradientError(f, logp, grpoLossReference({ ...rows, logp }, options).dlogp, n)).toBeLessThan(1e-7);
    },
  );

  it("on-policy: equals the gradient with constant old log-probs", () => {
    const rows = { advantage, weight: wave(n, 4), log_ratio: null, ref_logp };
    const f = (x: Float64Array) =>
      total(grpoLossReference({ ...rows, old_logp: logp.slice(), logp: x }, { ...PLAIN, beta: 0.1 }).loss);
    const { dlogp, loss } = grpoLossReference({ ...rows, old_logp: null, logp }, { ...PLAIN, beta: 0.1 });
    expect(gradientError(f, logp, dlogp, n)).toBeLessThan(1e-7);
    expect(total(loss)).toBeCloseTo(f(logp), 12);
  });

  it("sequence level: through the mean of the whole sequence", () => {
    const starts = [0, 1, 9, 9, n];
    const own = (values: number[]) =>
      Float64Array.from({ length: n }, (_, i) => values[starts.findLastIndex((s) => s <= i)]);
    const rows = { advantage: own([1, -0.5, 9, 0.7]), weight: own([1, 0.2, 9, 0.1]), old_logp: null, ref_logp };
    const at = (x: Float64Array) =>
      grpoLossReference(
        { ...rows, logp: x, log_ratio: sequenceLogRatioReference(x, old_logp, starts) },
        { ...PLAIN, beta: 0.2 },
      );
    expect(gradientError((x) => total(at(x).loss), logp, at(logp).dlogp, n)).toBeLessThan(1e-7);
  });

  it("cispo: equals the gradient of −cap·A·logp with a constant cap", () => {
    const options: RowLossOptions = { ...PLAIN, loss_type: "cispo", epsilon_high: 1.2, beta: 0.2 };
    const weight = wave(n, 4);
    const rows = { advantage, weight, old_logp, log_ratio: null, ref_logp };
    const held = logp.map((lp, i) => lp - old_logp[i]);
    const f = (x: Float64Array) =>
      total(grpoLossReference({ ...rows, old_logp: null, log_ratio: held, logp: x }, options).loss);
    const { dlogp, high } = grpoLossReference({ ...rows, logp }, options);
    expect(gradientError(f, logp, dlogp, n)).toBeLessThan(1e-7);
    expect(total(high)).toBeGreaterThan(0);
  });
});

it("a clipped ratio has no gradient if the advantage pushes it further out, and the full gradient otherwise", () => {
  const rows = (advantage: number, log_ratio: number) => ({
    logp: Float64Array.of(-1),
    advantage: Float64Array.of(advantage),
    weight: Float64Array.of(1),
    old_logp: null,
    log_ratio: Float64Array.of(log_ratio),
    ref_logp: null,
  });
  const of = (advantage: number, log_ratio: number, options = PLAIN) =>
    grpoLossReference(rows(advantage, log_ratio), options);
  expect(of(1, 0.5)).toMatchObject({ dlogp: Float64Array.of(-0), high: Float64Array.of(1), low: Float64Array.of(0) });
  expect(of(-1, 0.5).dlogp[0]).toBeCloseTo(Math.exp(0.5), 12);
  expect(of(-1, -0.5)).toMatchObject({ low: Float64Array.of(1), high: Float64Array.of(0) });
  expect(Math.abs(of(-1, -0.5).dlogp[0])).toBe(0);
  expect(of(-1, 2, { ...PLAIN, delta: 3 }).dlogp[0]).toBeCloseTo(0, 12); // past δ
  expect(of(-1, 2, { ...PLAIN, delta: 3 }).loss[0]).toBeCloseTo(3, 12);
});

const device = useGpu();

it("refuses lengths that differ, missing reference log-probs, and two sources of the ratio", () => {
  const record = device().recorder();
  const make = (n: number, label: string) => record.empty([n], "f32", label);
  const stats = grpoStats(record, 5);
  const rows = { advantage: make(5, "advantage"), weight: make(5, "weight") };
  const none = { old_logp: null, log_ratio: null, ref_logp: null };
  const short = { ...rows, ...none, old_logp: make(4, "old_logp") };
  expect(() => grpoLoss(record, make(5, "logp"), short, stats, 0, PLAIN)).toThrow("old_logp [4] must be [5]");
  expect(() => grpoLoss(record, make(3, "logp"), { ...rows, ...none }, stats, 3, PLAIN)).toThrow("rows 3 to 6");
  expect(() => grpoLoss(record, make(5, "logp"), { ...rows, ...none }, stats, 0, { ...PLAIN, beta: 0.1 })).toThrow(
    "beta 0.1: it needs ref_logp",
  );
  const both = { ...rows, ...none, old_logp: make(5, "old"), log_ratio: make(5, "ratio") };
  expect(() => grpoLoss(record, make(5, "logp"), both, stats, 0, PLAIN)).toThrow("not both");
  expect(() => sequenceLogRatio(record, make(5, "logp"), make(6, "old_logp"), make(2, "starts"))).toThrow(
    "old_logp [6] must be [5]",
  );
});
