import { beforeAll, describe, expect, it } from "vitest";
import { uniform01 } from "../../../shaders/lib/random.ts";
import { GRPO_LOSS_DEFAULTS, grpoLossTypes } from "../../../shaders/loss/grpo-losses.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { grpoLossReference } from "../../../src/kernels/loss/grpo-loss.ts";
import { sequenceTermsReference } from "../../../src/kernels/loss/sequence-terms.ts";
import { loadModel } from "../../../src/model/files/load.ts";
import type { Transformer } from "../../../src/model/transformer.ts";
import { type GrpoLossOptions, grpoObjective, tokenLogps } from "../../../src/train/grpo/objective.ts";
import { type GrpoSequence, packSequences } from "../../../src/train/grpo/sequences.ts";
import { useGpu } from "../../kernels/harness.ts";
import { integers, tinyModel } from "../fixtures.ts";

const device = useGpu();
let model: Transformer;

const OPTIONS: GrpoLossOptions = {
  loss_type: "dapo",
  importance_sampling_level: "token",
  ...GRPO_LOSS_DEFAULTS,
  beta: 0,
  use_bias_correction_kl: true,
  off_policy_mask_threshold: null,
  top_entropy_quantile: 1,
  entropy_coef: null,
  temperature: 0.8,
  max_completion_length: 16,
  num_items_in_batch: 40,
};
const LORA = {
  r: 4,
  lora_alpha: 8,
  lora_dropout: 0,
  use_rslora: false,
  target_modules: ["q_proj", "v_proj", "down_proj"],
} as const;

beforeAll(async () => {
  model = await loadModel(device(), await openCheckpoint(await tinyModel()), { trained: { lora: LORA } });
  for (const [p, { name, size }] of model.store!.parameters.entries()) {
    const values = Float32Array.from({ length: size }, (_, i) => 0.3 * (2 * uniform01(p, i) - 1)); // B is not 0
    model.store!.write(device(), name, values);
  }
});

/** Sequences of the given completion lengths, prompts of 1 to 4 tokens, advantages of both signs. */
function sequencesOf(lengths: readonly number[], seed = 3): GrpoSequence[] {
  const next = integers(seed);
  const ids = (length: number) => Array.from({ length }, () => next(256));
  return lengths.map((length, s) => ({
    prompt_ids: ids(1 + next(4)),
    completion_ids: ids(length),
    advantage: (s % 2 ? 1 : -1) * (0.5 + s / 4),
    old_logps: null,
    ref_logps: null,
  }));
}

/** The same with old and reference log-probs that differ slightly from the model's own. */
async function offPolicy(sequences: readonly GrpoSequence[]): Promise<GrpoSequence[]> {
  const logps = await logpsOf(model, sequences);
  return sequences.map((sequence, s) => ({
    ...sequence,
    old_logps: logps[s].map((lp, t) => lp + 0.5 * Math.sin(3 * t + s)),
    ref_logps: logps[s].map((lp, t) => lp + 0.3 * Math.cos(2 * t + s)),
  }));
}

async function logpsOf(of: Transformer, sequences: readonly GrpoSequence[]): Promise<Float32Array[]> {
  const record = device().recorder();
  const pending = tokenLogps(record, of, sequences, OPTIONS);
  record.submit();
  return (await pending).logps;
}

/** Loss, metrics and gradients of one or more micro-batches. */
async function objective(micro: readonly GrpoSequence[][], options: Partial<GrpoLossOptions> = {}) {
  const record = device().recorder();
  record.clear(model.store!.grads);
  const pending = micro.map((sequences) => grpoObjective(record, model, sequences, { ...OPTIONS, ...options }));
  const grads = record.read(model.store!.grads);
  record.submit();
  const results = await Promise.all(pending);
  return {
    loss: results.reduce((sum, { loss }) => sum + loss, 0),
    metrics: results[0].metrics,
    counted: results[0].counted,
    grads: new Float32Array(await grads),
  };
}

const LOSSES = [
  { loss_type: "grpo", beta: 0.1, weight: (own: number) => 1 / (4 * own * 2), gradient_accumulation_steps: 2 },
  { loss_type: "bnpo", weight: () => 1 / 22 },
  { loss_type: "dr_grpo", delta: 1.3, weight: () => 1 / (4 * 16) },
  { loss_type: "dapo", epsilon_high: 0.28, weight: () => 1 / 40 },
  { loss_type: "cispo", epsilon_high: 1.2, beta: 0.1, weight: () => 1 / 40 },
  { loss_type: "grpo", importance_sampling_level: "sequence", weight: (own: number) => 1 / (4 * own) },
  { loss_type: "sapo", beta: 0.1, weight: (own: number) => 1 / (4 * own) },
  { loss_type: "luspo", importance_sampling_level: "sequence", beta: 0.1, weight: () => 1 / 4 },
  { loss_type: "vespo", weight: () => 1 / 40, gradient_accumulation_steps: 3 },
] as const;

describe("the loss", () => {
  it("is tested with every loss_type", () => {
    expect(new Set(LOSSES.map(({ loss_type }) => loss_type))).toEqual(new Set(grpoLossTypes));
  });

  it.each(LOSSES)("of $loss_type equals the sum of the reference's rows", async ({ weight, ...options }) => {
    const lengths = [7, 1, 9, 5];
    const sequences = await offPolicy(sequencesOf(lengths));
    const logps = await logpsOf(model, sequences);
    const join = (parts: ArrayLike<number>[]) => Float64Array.from(parts.flatMap((part) => Array.from(part)));
    const logp = join(logps);
    const rows = join(
      sequences.flatMap(({ advantage, old_logps, ref_logps }, s) =>
        Array.from(logps[s], (_, t) => [advantage, weight(lengths[s]), old_logps![t], ref_logps![t]]),
      ),
    );
    const clipping = { ...OPTIONS, ...options };
    const bySequence = clipping.importance_sampling_level === "sequence";
    const values = { logp, rows, counted: null };
    const terms = sequenceTermsReference(values, [0, 7, 8, 17, 22], { old: true, kl: clipping.beta !== 0 });
    const want = grpoLossReference({ ...values, old: true, sequences: terms }, clipping);
    const { loss, metrics } = await objective([sequences], options);
    const total = want.loss.reduce((a, b) => a + b, 0);
    const size = want.loss.reduce((a, b) => a + Math.abs(b), 0); // signs may cancel in the sum
    expect(Math.abs(loss - total) / size).toBeLessThan(1e-5);
    expect("kl" in metrics).toBe(clipping.beta !== 0);
    if (!bySequence && "clip_ratio/high_mean" in metrics)
      expect(metrics["clip_ratio/high_mean"]).toBeCloseTo(want.high.reduce((a, b) => a + b, 0) / 22, 6);
  });

  it("on-policy is −ΣA·w, with the same gradient as for equal old log-probs", async () => {
    const sequences = sequencesOf([6, 8, 3]);
    const logps = await logpsOf(model, sequences);
    const own = sequences.map((sequence, s) => ({ ...sequence, old_logps: logps[s] }));
    for (const importance_sampling_level of ["token", "sequence"] as const) {
      const free = await objective([sequences], { importance_sampling_level });
      const stored = await objective([own], { importance_sampling_level });
      const want = -sequences.reduce((sum, s) => sum + (s.advantage * s.completion_ids.length) / 40, 0);
      expect(free.loss).toBeCloseTo(want, 5);
      expect(stored.loss).toBeCloseTo(want, 5);
      expect(relativeError(stored.grads, free.grads)).toBeLessThan(1e-4);
      expect(free.grads.some((g) => Math.abs(g) > 1e-6)).toBe(true);
      expect(free.metrics["clip_ratio/region_mean"]).toBe(0);
    }
  });

  it("of two micro-batches equals that of one, with more rows than a chunk of the head", async () => {
    const sequences = await offPolicy(sequencesOf(new Array(34).fill(31)));
    const whole = await objective([sequences], { beta: 0.05 });
    const halves = await objective([sequences.slice(0, 9), sequences.slice(9)], { beta: 0.05 });
    expect(Math.abs(halves.loss - whole.loss) / Math.abs(whole.loss)).toBeLessThan(1e-5);
    expect(relativeError(halves.grads, whole.grads)).toBeLessThan(1e-4);
  });

  it("leaves out masked tokens; the sequence still counts in the means over sequences", async () => {
    const sequences = await offPolicy(sequencesOf([6, 5, 4]));
    const masked = sequences.map((s, i) => (i === 1 ? { ...s, completion_mask: new Array(5).fill(0) } : s));
    const grpo = await objective([masked], { loss_type: "grpo" });
    const without = await objective([[sequences[0], sequences[2]]], { loss_type: "grpo" });
    expect(grpo.loss).toBeCloseTo((without.loss * 2) / 3, 5);
    expect(
      relativeError(
        grpo.grads,
        without.grads.map((g) => (g * 2) / 3),
      ),
    ).toBeLessThan(1e-4);
    const bnpo = await objective([masked], { loss_type: "bnpo" });
    expect(bnpo.loss).toBeCloseTo((await objective([[sequences[0], sequences[2]]], { loss_type: "bnpo" })).loss, 5);
    const nothing = await objective([[masked[1]]], { loss_type: "grpo" });
    expect(nothing.loss).toBe(0);
    expect(nothing.grads.every((g) => g === 0)).toBe(true);
    expect(Object.values(nothing.metrics).every((v) => v === 0)).toBe(true);
  });

  it("with an entropy bonus: less coef times the mean entropy, and its gradient by differences of the weights", async () => {
    const sequences = await offPolicy(sequencesOf([7, 5, 9]));
    const options = { entropy_coef: 0.5, gradient_accumulation_steps: 2, loss_type: "grpo" } as const;
    const plain = await objective([sequences], { ...options, entropy_coef: null });
    const bonus = await objective([sequences], options);
    expect(bonus.loss).toBeCloseTo(plain.loss - (0.5 * plain.metrics.entropy) / 2, 5);
    expect(bonus.metrics.policy_loss).toBeCloseTo(2 * plain.loss, 5);
    expect("policy_loss" in plain.metrics).toBe(false);
    const { store } = model;
    const parameter = store!.parameters[0];
    const at = parameter.start + 3;
    const slope = (bonus.grads[at] - plain.grads[at]) / (-0.5 / 2);
    const read = device().recorder();
    const flat = read.read(store!.values);
    read.submit();
    const values = new Float32Array(await flat).slice(parameter.start, parameter.start + parameter.size);
    const entropyAt = async (step: number) => {
      store!.write(
        device(),
        parameter.name,
        values.map((v, i) => (i === 3 ? v + step : v)),
      );
      return (await objective([sequences], options)).metrics.entropy;
    };
    const measured = ((await entropyAt(0.02)) - (await entropyAt(-0.02))) / 0.04;
    store!.write(device(), parameter.name, values);
    expect(Math.abs(slope - measured)).toBeLessThan(0.02 * Math.abs(measured) + 1e-4);
    expect(Math.abs(measured)).toBeGreaterThan(1e-3);
  });

  it("of tokens of the highest entropy leaves the others out, over chunks of the head", async () => {
    const sequences = await offPolicy(sequencesOf(new Array(10).fill(13)));
    const top = await objective([sequences], { top_entropy_quantile: 0.3, entropy_coef: 0.1 });
    const all = await objective([sequences], { top_entropy_quantile: 0.9999, entropy_coef: 0.1 });
    expect(top.counted.tokens).toBe(39); // of 130 those above the 0.7 quantile
    expect(all.counted.tokens).toBe(129);
    expect(top.counted.entropy / 39).toBeGreaterThan(all.counted.entropy / 129);
    expect(top.metrics.entropy).toBeCloseTo(all.metrics.entropy, 6);
    expect(top.loss).not.toBeCloseTo(all.loss, 4);
  });

  it("masks a sequence that the policy has left, of negative advantage only", async () => {
    const [a, b] = await offPolicy(sequencesOf([6, 8]));
    const moved = (s: GrpoSequence) => ({ ...s, old_logps: Array.from(s.old_logps!, (lp) => lp + 0.4) });
    const options = { off_policy_mask_threshold: 0.2, loss_type: "bnpo" } as const;
    expect([a.advantage < 0, b.advantage < 0]).toEqual([true, false]);
    const left = await objective([[moved(a)]], options);
    expect(left.loss).toBe(0);
    expect(left.grads.every((g) => Math.abs(g) === 0)).toBe(true);
    const kept = await objective([[moved(b)]], options);
    expect(kept.loss).toBeCloseTo((await objective([[moved(b)]], { loss_type: "bnpo" })).loss, 6);
    expect(kept.loss).not.toBe(0);
  });

  it("gives the same bits every time", async () => {
    const sequences = await offPolicy(sequencesOf([12, 9]));
    const [a, b] = [await objective([sequences]), await objective([sequences])];
    expect(a.loss).toBe(b.loss);
    expect([...a.grads]).toEqual([...b.grads]);
  });
});

describe("the reference", () => {
  it("is the base model: the model without its adapter", async () => {
    const sequences = sequencesOf([6, 8]);
    const base = await loadModel(device(), await openCheckpoint(await tinyModel()));
    const [off, on, want] = [
      await logpsOf(model.withoutAdapter(), sequences),
      await logpsOf(model, sequences),
      await logpsOf(base, sequences),
    ];
    expect(off.map((values) => [...values])).toEqual(want.map((values) => [...values]));
    expect(relativeError(on[0], want[0])).toBeGreaterThan(1e-3);
  });

  it("of a run that goes on from an adapter is that adapter as it was: what is trained later does not move it", async () => {
    const sequences = sequencesOf([6, 8]);
    const before = await logpsOf(model, sequences);
    const reference = model.withFrozenAdapter();
    const plain = (all: Float32Array[]) => all.map((values) => [...values]);
    expect(plain(await logpsOf(reference, sequences))).toEqual(plain(before));
    const { store } = model;
    const record = device().recorder();
    const kept = record.read(store!.values);
    record.submit();
    const saved = store!.split(await kept).map(({ name, data }) => ({ name, data: data.slice() }));
    for (const { name, data } of saved)
      store!.write(
        device(),
        name,
        data.map((v) => 1.5 * v),
      );
    expect(relativeError((await logpsOf(model, sequences))[0], before[0])).toBeGreaterThan(1e-3);
    expect(plain(await logpsOf(reference, sequences))).toEqual(plain(before));
    for (const { name, data } of saved) store!.write(device(), name, data);
    expect(() =>
      reference.run(
        device().recorder(),
        { input_ids: [1, 2], position_ids: [0, 1], cu_seqlens: [0, 2] },
        { rows: Uint32Array.of(0), tokens: Uint32Array.of(1) },
        {},
        () => null as never,
      ),
    ).toThrow("Cannot compute gradients");
  });

  it("of a model that is trained itself is gone", async () => {
    const full = await loadModel(device(), await openCheckpoint(await tinyModel()), { trained: "all" });
    expect(() => full.withoutAdapter()).toThrow(/without its adapter: model\..* itself is trained/);
  });
});

it("packs sequences so that each completion token is predicted by the token before it", () => {
  const tokens = [
    { prompt_ids: [1, 2], completion_ids: [3, 4, 5], completion_mask: [1, 1, 0] },
    { prompt_ids: [6], completion_ids: [7], completion_mask: [0] },
    { prompt_ids: [8], completion_ids: [] },
    { prompt_ids: [9], completion_ids: [10, 11] },
  ];
  const { batch, targets, starts, positions } = packSequences(tokens);
  expect(batch).toEqual({ input_ids: [1, 2, 3, 9, 10], position_ids: [0, 1, 2, 0, 1], cu_seqlens: [0, 3, 5] });
  expect(targets).toEqual({ rows: Uint32Array.of(1, 2, 3, 4), tokens: Uint32Array.of(3, 4, 10, 11) });
  expect(starts).toEqual([0, 2, 2, 2, 4]);
  expect(positions).toEqual([0, 1, 0, 1]);
});

it("refuses inconsistent input, by name", async () => {
  const [a, b] = sequencesOf([3, 4]);
  const go = (sequences: GrpoSequence[], options: Partial<GrpoLossOptions> = {}) =>
    grpoObjective(device().recorder(), model, sequences, { ...OPTIONS, ...options });
  expect(() => go([{ ...a, prompt_ids: [] }])).toThrow("completion 1: its prompt is empty");
  expect(() => go([a, { ...b, old_logps: [0, 0, 0, 0] }])).toThrow(
    "completion 2 has old_logps and completion 1 does not",
  );
  expect(() => go([{ ...a, old_logps: [0] }])).toThrow("it has 3 tokens, but its old_logps has 1 values");
  expect(() => go([{ ...a, completion_mask: [1] }])).toThrow("its completion_mask has 1 values");
  expect(() => go([a], { beta: 0.1 })).toThrow("beta 0.1: the sequences have no ref_logps");
  expect(() => go([a], { temperature: 0 })).toThrow("temperature 0");
  expect(() => go([a], { epsilon: Number.NaN })).toThrow("epsilon NaN");
  expect(() => go([a], { num_items_in_batch: Number.NaN })).toThrow("num_items_in_batch NaN");
  expect(() => go([a], { loss_type: "ppo" as "grpo" })).toThrow('loss_type "ppo": it must be one of dapo, grpo, bnpo');
});
