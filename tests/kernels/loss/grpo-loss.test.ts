import { describe, expect, it } from "vitest";
import { GRPO_LOSS_DEFAULTS, GRPO_LOSSES, TOKEN_TERMS, termOf } from "../../../shaders/loss/grpo-losses.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { grpoLossCases } from "../../../src/kernels/loss/grpo-loss.cases.ts";
import {
  grpoLoss,
  grpoLossReference,
  grpoStats,
  needsSequences,
  type RowLossOptions,
} from "../../../src/kernels/loss/grpo-loss.ts";
import { sequenceTermsReference } from "../../../src/kernels/loss/sequence-terms.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("grpo_loss", grpoLossCases);

const wave = (n: number, phase: number, scale = 1) =>
  Float64Array.from({ length: n }, (_, i) => scale * Math.sin(7 * i + phase));
const total = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const PLAIN: RowLossOptions = {
  loss_type: "grpo",
  importance_sampling_level: "token",
  ...GRPO_LOSS_DEFAULTS,
  epsilon_high: 0.28,
  beta: 0,
  use_bias_correction_kl: true,
  off_policy_mask_threshold: null,
};
const SEQUENCE = { importance_sampling_level: "sequence" } as const;

it("every loss_type has cases", () => {
  const tried = grpoLossCases.map(({ name }) =>
    Object.entries(GRPO_LOSSES).find(([loss]) => name.includes(`${loss},`)),
  );
  expect(new Set(tried.map((entry) => entry?.[1].term))).toEqual(new Set(Object.keys(TOKEN_TERMS)));
});

describe("the reference gradient agrees with finite differences", () => {
  const n = 24;
  const starts = [0, 1, 9, 9, n];
  const own = (values: number[]) =>
    Float64Array.from({ length: n }, (_, i) => values[starts.findLastIndex((s) => s <= i)]);
  const [advantage, weight] = [own([1, -0.5, 9, 0.7]), own([1, 0.2, 9, 0.1])];
  const logp = wave(n, 1).map((v) => v - 2);
  const rows = Float64Array.from({ length: 4 * n }, (_, at) => {
    const i = at >> 2;
    return [advantage[i], weight[i], logp[i] + 0.6 * Math.cos(5 * i), logp[i] + 0.7 * Math.sin(3 * i)][at & 3];
  });
  const counted = Float64Array.from({ length: n }, (_, i) => (i % 3 ? 1 : 0));

  /** Loss rows and gradient, everything as a function of the log-probs. */
  function at(x: Float64Array, options: RowLossOptions, { old = true, masked = false, policy = x } = {}) {
    const values = { logp: x, rows, counted: masked ? counted : null };
    const terms = { old, kl: options.beta !== 0 };
    const reads = needsSequences(options, { old, counted: masked });
    // what a loss holds constant is taken of \`policy\`, what its gradient goes through of x
    const sequences = reads ? sequenceTermsReference(values, starts, terms) : null;
    if (sequences && policy !== x) {
      const held = sequenceTermsReference({ ...values, logp: policy }, starts, terms);
      for (let i = 0; i < n; i++) sequences[4 * i + 1] = held[4 * i + 1];
    }
    return grpoLossReference({ ...values, old, sequences }, options);
  }

  const ratio: Partial<RowLossOptions>[] = [
    {},
    { beta: 0.3 },
    { beta: 0.3, use_bias_correction_kl: false },
    { delta: 1.4, beta: 0.3 },
    { delta: 1.1 },
    { loss_type: "sapo", sapo_temperature_neg: 2, beta: 0.1 },
    { ...SEQUENCE },
    { ...SEQUENCE, beta: 0.3 },
    { ...SEQUENCE, beta: 0.3, use_bias_correction_kl: false },
    { ...SEQUENCE, loss_type: "sapo" },
    { ...SEQUENCE, loss_type: "luspo", beta: 0.1 },
    { off_policy_mask_threshold: 0.05, beta: 0.2 },
  ];
  it.each(ratio.flatMap((each) => [false, true].map((masked) => [masked ? "masked" : "all", each] as const)))(
    "%s rows, %o",
    (which, each) => {
      const options = { ...PLAIN, ...each };
      const masked = which === "masked";
      const f = (x: Float64Array) => total(at(x, options, { masked }).loss);
      expect(gradientError(f, logp, at(logp, options, { masked }).dlogp, n)).toBeLessThan(1e-7);
    },
  );

  it.each([{}, SEQUENCE])("on-policy: that of a ratio to log-probs which stay as they were, %o", (level) => {
    const options = { ...PLAIN, ...level, beta: 0.1 };
    const held = rows.slice();
    for (let i = 0; i < n; i++) held[4 * i + 2] = logp[i];
    const f = (x: Float64Array) => {
      const values = { logp: x, rows: held, counted };
      const sequences = sequenceTermsReference(values, starts, { old: true, kl: true });
      return total(grpoLossReference({ ...values, old: true, sequences }, options).loss);
    };
    const { dlogp, loss } = at(logp, options, { old: false, masked: true });
    expect(gradientError(f, logp, dlogp, n)).toBeLessThan(1e-7);
    expect(total(loss)).toBeCloseTo(f(logp), 12);
  });

  // the cap, or the weight of the sequence, is held constant: what stands before A·logp
  it.each([
    { loss_type: "cispo", epsilon_high: 1.2 },
    { loss_type: "vespo" },
    { loss_type: "vespo", vespo_k_neg: 1, vespo_lambda_neg: 0.5, ...SEQUENCE },
  ] as const)("%o: that of a constant times A·logp", (each) => {
    const options: RowLossOptions = { ...PLAIN, ...each };
    const { loss, dlogp, low, high } = at(logp, options, { masked: true });
    const factor = loss.map((value, i) => value / logp[i]);
    const f = (x: Float64Array) => x.reduce((sum, lp, i) => sum + factor[i] * lp, 0);
    expect(gradientError(f, logp, dlogp, n)).toBeLessThan(1e-7);
    expect(termOf(options.loss_type).through).toBe("logp");
    expect(total(low) + total(high)).toBeGreaterThan(0);
  });

  it("vespo's weight is 1 where nothing has moved, and falls on both sides", () => {
    const { reference } = TOKEN_TERMS.weighted;
    const phi = (log_w: number, a: number) => reference({ lp: -1, a, rho: 1, log_rho: 0, log_w }, PLAIN).low;
    expect(phi(0, 1)).toBeCloseTo(1, 12);
    expect(phi(0, -1)).toBeCloseTo(1, 12);
    expect(phi(2, 1)).toBeLessThan(0.01);
    expect(phi(-2, 1)).toBeCloseTo(Math.exp(3 - 4 - 3 * Math.exp(-2)), 12);
    expect(phi(20, -1)).toBe(0);
  });
});

it("a ratio past its bound has no gradient where the advantage pushes it further, and all of it where back", () => {
  const of = (advantage: number, log_ratio: number, options = PLAIN) =>
    grpoLossReference(
      {
        logp: Float64Array.of(-1),
        rows: Float64Array.of(advantage, 1, -1 - log_ratio, 0),
        old: true,
        counted: null,
        sequences: null,
      },
      options,
    );
  expect(of(1, 0.5)).toMatchObject({ dlogp: Float64Array.of(-0), high: Float64Array.of(1), low: Float64Array.of(0) });
  expect(of(-1, 0.5).dlogp[0]).toBeCloseTo(Math.exp(0.5), 12);
  expect(of(-1, -0.5)).toMatchObject({ low: Float64Array.of(1), high: Float64Array.of(0) });
  expect(Math.abs(of(-1, -0.5).dlogp[0])).toBe(0);
  expect(of(-1, 2, { ...PLAIN, delta: 3 }).dlogp[0]).toBeCloseTo(0, 12); // past δ
  expect(of(-1, 2, { ...PLAIN, delta: 3 }).loss[0]).toBeCloseTo(3, 12);
});

const device = useGpu();

it("refuses lengths that differ, rows past the end, and terms of sequences that are missing", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const stats = grpoStats(record, 5);
  const rows = { rows: make([5, 4], "rows"), old: true, counted: null, sequences: null };
  const go = (given: Partial<typeof rows>, logp = 5, start = 0, options = PLAIN) =>
    grpoLoss(record, make([logp], "logp"), { ...rows, ...given }, stats, start, options);
  expect(() => go({ rows: make([4, 4], "rows") })).toThrow("rows [4,4] must be [5,4]");
  expect(() => go({}, 3, 3)).toThrow("rows 3 to 6");
  expect(() => go({}, 5, 0, { ...PLAIN, ...SEQUENCE })).toThrow("needs the terms of whole sequences");
});
