import { describe, expect, it } from "vitest";
import { publishedShape } from "../../../src/model/architectures/published.ts";
import { parameterCount } from "../../../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { parseRecipe } from "../../../src/recipe/recipe.ts";
import { medianStep, noteRun, recallTimes } from "../../../src/session/device-times.ts";
import { forecastTime, meansOf, type TimeInput } from "../../../src/session/time-forecast.ts";
import { fitRate, ratesFor, secondsOf, type WidthRates } from "../../../src/train/forecast/rates.ts";
import { operationsOf, type WorkModel, workOfPass } from "../../../src/train/forecast/work.ts";

const config = parseModelConfig({ ...publishedShape("Qwen/Qwen2.5-0.5B")! }, "Qwen2.5-0.5B");
const lora: WorkModel = { config, lora_r: 16, whole: false, gradient_checkpointing: false };
const rate = (layer: number, operation: number) => ({ layer, operation });
const width = (hidden: number, layer: number, operation: number): WidthRates => {
  const all = rate(layer, operation);
  return { hidden, train: all, forward: all, decode: all, kernel: 0.01, everyWidth: false };
};
const device = [width(128, 1e-4, 1e-9), width(896, 1e-4, 1e-11)];

describe("the operations of a pass", () => {
  const pass = { tokens: 1000, context: 0, rows: 1000 } as const;
  it("are two for each parameter and token forward, and six to train them all", () => {
    const parameters = parameterCount(config);
    const none = { ...lora, lora_r: null };
    expect(operationsOf(none, { kind: "forward", ...pass }) / (2000 * parameters)).toBeCloseTo(1, 2);
    const all = { ...none, whole: true };
    expect(operationsOf(all, { kind: "train", ...pass }) / (6000 * parameters)).toBeCloseTo(1, 2);
  });
  it("grow by a forward pass with gradient checkpointing, and by the square of the length with attention", () => {
    const forward = operationsOf(lora, { kind: "forward", ...pass, rows: 0 });
    const train = operationsOf(lora, { kind: "train", ...pass });
    const again = operationsOf({ ...lora, gradient_checkpointing: true }, { kind: "train", ...pass });
    expect(again - train).toBe(forward);
    const long = operationsOf(lora, { kind: "forward", ...pass, rows: 0, context: 500 });
    expect(long - forward).toBe(1000 * 24 * 4 * 896 * 500);
  });
});

describe("the work of a pass", () => {
  it("is more than its products, by less the wider the model is, and never by another kind of share", () => {
    const pass = { tokens: 100, context: 0, rows: 0 } as const;
    const narrow: WorkModel = { ...lora, config: { ...config, hidden_size: 128, intermediate_size: 256 } };
    for (const kind of ["forward", "decode", "train"] as const) {
      const share = (model: WorkModel) => workOfPass(model, { kind, ...pass }) / operationsOf(model, { kind, ...pass });
      expect(share(lora)).toBeGreaterThan(1.05);
      expect(share(lora)).toBeLessThan(1.25);
      expect(share(narrow)).toBeGreaterThan(1.3);
    }
  });
});

describe("rates", () => {
  it("are found again from passes of several sizes", () => {
    const passes = [1e6, 1e7, 1e9].map((operations) => ({
      layers: 4,
      operations,
      seconds: 4 * 2e-4 + operations * 3e-10,
    }));
    const { layer, operation } = fitRate(passes);
    expect(layer).toBeCloseTo(2e-4, 8);
    expect(operation).toBeCloseTo(3e-10, 14);
  });
  it("are never negative: a pass that got faster with its size was disturbed", () => {
    const { layer, operation } = fitRate([
      { layers: 4, operations: 1e6, seconds: 1 },
      { layers: 4, operations: 1e9, seconds: 0.5 },
    ]);
    expect([layer > 0, operation]).toEqual([true, 0]);
    expect(fitRate([{ layers: 4, operations: 1e6, seconds: 1 }])).toEqual({ layer: 0, operation: 1e-6 });
  });
  it("of a width between two measured ones lie between theirs, and outside are the nearest", () => {
    expect(ratesFor(device, { hidden_size: 339 }).train.operation).toBeCloseTo(1e-10, 12); // the middle on a logarithmic scale
    expect(ratesFor(device, { hidden_size: 64 }).train.operation).toBe(1e-9);
    expect(ratesFor(device, { hidden_size: 2048 }).train.operation).toBe(1e-11);
    const all = [{ kind: "train", count: 2, tokens: 10, context: 5, rows: 10 }] as const;
    const once = workOfPass(lora, all[0]) * 1e-11 + 25 * 1e-4;
    expect(secondsOf(all, lora, ratesFor(device, config))).toBeCloseTo(2 * once, 9);
  });
});

describe("the time of a run", () => {
  const sft = (fields: Record<string, unknown> = {}, max_steps = 100): TimeInput<"sft"> => ({
    method: "sft",
    recipe: parseRecipe({ per_device_train_batch_size: 4, gradient_accumulation_steps: 2, ...fields }, "sft").recipe,
    config,
    lora_r: 16,
    lengths: meansOf([
      [200, 100],
      [400, 300],
    ]),
    max_steps,
    kernels: 50,
  });
  const grpo = (fields: Record<string, unknown> = {}): TimeInput<"grpo"> => {
    const { recipe } = parseRecipe({ num_generations: 8, max_completion_length: 200, ...fields }, "grpo");
    return { method: "grpo", recipe, config, lora_r: 16, lengths: meansOf([[100, 0]]), max_steps: 10 };
  };

  it("is the compilation and the steps, each with its micro-batches", () => {
    const { seconds, step, parts, basis } = forecastTime(sft(), device);
    expect([parts.compile, parts.generate, basis]).toEqual([0.5, 0, "measurement"]);
    expect(seconds).toBeCloseTo(0.5 + 100 * step, 9);
    expect(forecastTime(sft({ gradient_accumulation_steps: 4 }), device).step).toBeCloseTo(2 * step, 9);
    expect(forecastTime(sft({ packing: true, max_length: 600 }), device).step).toBeGreaterThan(1.8 * step);
  });

  it("of GRPO has its generation, which a second use of a generation batch halves, and its reference", () => {
    const plain = forecastTime(grpo({ beta: 0 }), device);
    expect(plain.parts.generate).toBeGreaterThan(0);
    const twice = forecastTime(grpo({ beta: 0, num_iterations: 2 }), device);
    expect(twice.parts.generate).toBeCloseTo(plain.parts.generate / 2, 9);
    expect(forecastTime(grpo({ beta: 0.1 }), device).parts.train).toBeGreaterThan(1.1 * plain.parts.train);
    const long = forecastTime(grpo({ beta: 0, max_completion_length: 400 }), device);
    expect(long.parts.generate).toBeGreaterThan(1.9 * plain.parts.generate);
  });

  it("includes held-out problems, without a correction", () => {
    const heldOut = { problems: 40, times: 3, prompt: 80, max_new_tokens: 200 };
    const { parts, seconds } = forecastTime({ ...sft(), heldOut }, device);
    expect(parts.heldOut).toBeGreaterThan(0);
    expect(seconds - parts.heldOut).toBeCloseTo(forecastTime(sft(), device).seconds, 9);
  });

  it("is corrected by the median of earlier runs: those of the model before those of the method", () => {
    const { counted, step } = forecastTime(sft(), device);
    const run = (taken: number, model = "other", method: "sft" | "grpo" = "sft") => ({
      model,
      method,
      forecast: 1,
      taken,
    });
    const earlier = [run(2), run(3), run(40), run(9, "other", "grpo")];
    const method = forecastTime(sft(), device, { earlier, model: "own" });
    expect([method.basis, method.step / step]).toEqual(["method", 3]);
    const model = forecastTime(sft(), device, { earlier: [...earlier, run(0.5, "own")], model: "own" });
    expect([model.basis, model.step / step, model.counted]).toEqual(["model", 0.5, counted]);
    const broken = forecastTime(sft(), device, { earlier: [run(Number.NaN), run(0)] });
    expect(broken.step).toBe(step);
  });
});

describe("what is kept for an adapter", () => {
  const texts = new Map<string, string>();
  const store = {
    read: async (adapter: string) => texts.get(adapter) ?? null,
    write: async (adapter: string, text: string) => void texts.set(adapter, text),
  };
  const gpu = { adapterName: "Apple M2" };
  it("is each run, apart from those of other adapters; a damaged text counts as none", async () => {
    const run = { model: "m", method: "sft", forecast: 1, taken: 2 } as const;
    await noteRun(gpu, store, run);
    await noteRun({ adapterName: "Arc" }, store, { ...run, taken: 9 });
    expect(await recallTimes(gpu, store)).toEqual({ rates: [], runs: [run] });
    texts.set("Apple M2", '{"version": 0, "rates": 1}');
    expect(await recallTimes(gpu, store)).toEqual({ rates: [], runs: [] });
    texts.set("Apple M2", "{");
    expect(await recallTimes(gpu, store)).toEqual({ rates: [], runs: [] });
  });
  it("is the median step without the first, with steps that share a generation as one", () => {
    expect(medianStep([9, 1, 2, 3])).toBe(2);
    expect(medianStep([9, 1, 5, 1, 7, 1, 6], 2)).toBe(3.5);
    expect(medianStep([9, 1])).toBe(null);
  });
});
