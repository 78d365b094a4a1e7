import { describe, expect, it } from "vitest";
import { type CheckpointSpec, configOf, SPECS } from "../../../scripts/random-checkpoint.ts";
import { MemoryError } from "../../../src/errors.ts";
import type { Trained } from "../../../src/model/build.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import type { WeightDType } from "../../../src/model/slots.ts";
import { checkForecast, type MemoryForecast } from "../../../src/train/forecast/memory.ts";
import { forecastSft, worstBatch } from "../../../src/train/forecast/sft.ts";
import { useGpu } from "../../kernels/harness.ts";
import { isProjection, PROJECTIONS } from "../../model/projections.ts";
import { recipeOf, TINY, TINY_QWEN35, tinyModel, tinyRows, train } from "../fixtures.ts";

const LIMITS = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 30 };
const LORA = { lora: { r: 16, lora_alpha: 32, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS } };

function forecast(
  model: string,
  length: number,
  options: {
    trained?: Trained;
    rows?: number;
    optim?: string;
    dtypeOf?: (name: string) => WeightDType;
    limits?: typeof LIMITS;
    bf16?: boolean;
    recompute?: boolean;
  } = {},
): MemoryForecast {
  return forecastSft({
    config: parseModelConfig(configOf(SPECS[model])),
    trained: options.trained ?? LORA,
    dtypeOf: options.dtypeOf ?? (() => "bf16"),
    steps: [worstBatch(options.rows ?? 1, length)],
    optimizer: recipeOf({ optim: options.optim ?? "adamw_torch" }),
    gradient_checkpointing: options.recompute,
    adapter: { limits: options.limits ?? LIMITS, activations: options.bf16 ? "bf16" : "f32" },
  });
}

const CONSTANT = ["weights", "trainable", "optimizer"] as const;
const growing = ({ peak, byKind }: MemoryForecast) =>
  peak - CONSTANT.reduce((sum, kind) => sum + (byKind[kind] ?? 0), 0);

describe("the forecast", () => {
  it("without its constant part, is at most 4.3 times as large at 4096 tokens as at 1024", () => {
    const [short, long, longer] = [1024, 4096, 8192].map((length) => growing(forecast("qwen2.5-0.5b", length)));
    expect(long / short).toBeLessThanOrEqual(4.3);
    expect(long / short).toBeGreaterThan(2);
    expect(longer / long).toBeLessThanOrEqual(2.1);
  });

  it("does not depend on the division of tokens into rows", () => {
    const [one, many] = [forecast("qwen2.5-0.5b", 2048), forecast("qwen2.5-0.5b", 128, { rows: 16 })];
    expect(Math.abs(many.peak / one.peak - 1)).toBeLessThan(0.02);
  });

  it("knows the published sizes: 0.5B has 494 M parameters, 988 MB in bf16, and 8.8 M in LoRA r=16", () => {
    const { parameters, trainable, byKind } = forecast("qwen2.5-0.5b", 256);
    expect(parameters).toBe(494_032_768);
    expect(trainable).toBe(8_798_208);
    const table = 256 * 64 * 4; // of the rotary embedding
    expect(Math.abs(byKind.weights! - 2 * parameters - table)).toBeLessThan(1e6);
    expect(Math.abs(byKind.optimizer! - 8 * trainable)).toBeLessThan(1e6);
    expect(Math.abs(byKind.trainable! - 8 * trainable)).toBeLessThan(1e6);
  });

  it("adamw_8bit takes about a quarter of the moments' memory", () => {
    const [full, small] = ["adamw_torch", "adamw_8bit"].map(
      (optim) => forecast("qwen2.5-0.5b", 64, { optim }).byKind.optimizer!,
    );
    expect(small / full).toBeLessThan(0.27);
    expect(small / full).toBeGreaterThan(0.25);
  });

  it("lion takes half of AdamW's, gradient descent nothing", () => {
    const of = (optim: string) => forecast("qwen2.5-0.5b", 64, { optim }).byKind.optimizer ?? 0;
    expect(of("lion_32bit") / of("adamw_torch")).toBeCloseTo(0.5, 3);
    expect(of("muon") / of("adamw_torch")).toBeCloseTo(0.5, 3);
    expect(of("sgd")).toBe(0);
    expect(of("adafactor") / of("adamw_torch")).toBeLessThan(0.2); // of LoRA's narrow matrices
  });

  it.each([
    [true, 0.85],
    [false, 0.62],
  ])("bf16 takes less, most where activations are kept: recomputed %s", (recompute, share) => {
    const [whole, half] = [false, true].map((bf16) => forecast("qwen2.5-0.5b", 2048, { bf16, recompute }));
    expect(growing(half) / growing(whole)).toBeLessThan(share);
    expect(growing(half) / growing(whole)).toBeGreaterThan(0.5);
    for (const kind of CONSTANT) expect(half.byKind[kind]).toBe(whole.byKind[kind]);
  });

  it("a run that cannot fit is refused with the sum and its parts", () => {
    const plan = forecast("qwen2.5-1.5b", 1024);
    expect(() => checkForecast(plan, null)).not.toThrow();
    expect(() => checkForecast(plan, plan.peak)).not.toThrow();
    expect(() => checkForecast(plan, 2e9)).toThrow(MemoryError);
    expect(() => checkForecast(plan, 2e9)).toThrow(
      /^Cannot train: the forecast is 3\.\d\d GiB \(weights 2\.\d\d GiB, .*\), but 1\.86 GiB are available\. Use a shorter max_length/,
    );
  });

  it("Qwen3.5-0.8B on a device of WebGPU's default limits: linear in the length, states of one layer at a time", () => {
    const all = { lora: { ...LORA.lora, target_modules: "all-linear" } };
    const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 };
    const of = (length: number, rows = 1) => forecast("qwen3.5-0.8b", length, { trained: all, limits, rows });
    const [short, long, packed] = [of(1024), of(3072), of(64, 48)];
    expect(short.parameters).toBe(752_393_024);
    expect(growing(long) / growing(short)).toBeLessThan(3.3);
    expect(Math.abs(packed.peak / long.peak - 1)).toBeLessThan(0.1);
    expect(short.peak).toBeLessThan(3.5e9);
  });

  it("a 4-bit base: 1.5B with r 16 takes at most 2.6 GB at 1024 tokens, 3B with r 32 at most 4.5", () => {
    const dtypeOf = (name: string) => (isProjection(name) ? "nf4" : "bf16");
    const small = forecast("qwen2.5-1.5b", 1024, { dtypeOf });
    expect(small.peak).toBeLessThan(2.6e9);
    expect(small.byKind.weights).toBeLessThan(0.42 * forecast("qwen2.5-1.5b", 64).byKind.weights!);
    expect(forecast("qwen2.5-3b", 1024, { dtypeOf, trained: { lora: { ...LORA.lora, r: 32 } } }).peak).toBeLessThan(
      4.5e9,
    );
  });

  it("an array that exceeds a binding is reported with advice", () => {
    expect(() =>
      forecast("qwen2.5-0.5b", 16384, { limits: { ...LIMITS, maxStorageBufferBindingSize: 1 << 27 } }),
    ).toThrow(
      /^Cannot bind \S+ \[\d+,\d+\] .* of 134217728\. Use fewer tokens per pass: a smaller per_device_train_batch_size/,
    );
  });

  it("parameters above the adapter's largest buffer are held in several; a single one above it is refused", () => {
    const whole = forecast("qwen2.5-3b", 16, { trained: "all", limits: { ...LIMITS, maxBufferSize: 2 ** 40 } });
    const parts = forecast("qwen2.5-3b", 16, { trained: "all" });
    expect(parts.byKind.trainable! / whole.byKind.trainable!).toBeCloseTo(1, 3);
    expect(() => forecast("qwen2.5-3b", 16, { trained: "all", limits: { ...LIMITS, maxBufferSize: 2 ** 28 } })).toThrow(
      /Cannot allocate \S+: \d+ bytes exceed this device's maxBufferSize of 268435456 bytes/,
    );
  });
});

describe("the ledger", () => {
  const gpu = useGpu();

  it.each<[string, Record<string, unknown>, { shortest: number; longest: number }, boolean, CheckpointSpec?]>([
    ["LoRA, rows of one length", { max_steps: 2 }, { shortest: 64, longest: 64 }, false],
    ["LoRA, bf16", { max_steps: 2, bf16: true }, { shortest: 64, longest: 64 }, false],
    [
      "LoRA, bf16, activations kept",
      { max_steps: 2, bf16: true, gradient_checkpointing: false },
      { shortest: 64, longest: 64 },
      false,
    ],
    ["DoRA", { max_steps: 2, use_dora: true }, { shortest: 64, longest: 64 }, false],
    ["LoRA, rows of all lengths", { max_steps: 8 }, { shortest: 4, longest: 200 }, false],
    [
      "full training with 8-bit moments",
      { max_steps: 2, use_peft: false, optim: "adamw_8bit" },
      { shortest: 30, longest: 60 },
      false,
    ],
    ["full training with lion", { max_steps: 2, use_peft: false, optim: "lion" }, { shortest: 30, longest: 60 }, false],
    [
      "full training with adafactor",
      { max_steps: 2, use_peft: false, optim: "adafactor" },
      { shortest: 30, longest: 60 },
      false,
    ],
    ["full training with muon", { max_steps: 2, use_peft: false, optim: "muon" }, { shortest: 30, longest: 60 }, false],
    ["full training with sgd", { max_steps: 2, use_peft: false, optim: "sgd" }, { shortest: 30, longest: 60 }, false],
    [
      "short steps and long evaluations",
      { max_steps: 2, per_device_train_batch_size: 1, eval_strategy: "steps", eval_steps: 1 },
      { shortest: 40, longest: 60 },
      true,
    ],
    ["Qwen3.5, rows of one length", { max_steps: 2 }, { shortest: 130, longest: 130 }, false, TINY_QWEN35],
    ["Qwen3.5, rows of all lengths", { max_steps: 5 }, { shortest: 4, longest: 200 }, false, TINY_QWEN35],
    ["Qwen3.5, full training", { max_steps: 2, use_peft: false }, { shortest: 30, longest: 60 }, false, TINY_QWEN35],
  ])("peaks at the forecast or at most a tenth below: %s", async (_, options, lengths, evaluate, spec) => {
    const { pool } = gpu();
    pool.trim();
    const before = pool.ledger.allocated;
    pool.ledger.peak = before;
    const model = await tinyModel(spec ?? { ...TINY, intermediate_size: 352 });
    const rows = tinyRows(40, lengths);
    const run = await train(gpu(), {
      model,
      rows,
      recipe: recipeOf(options),
      evalRows: evaluate ? tinyRows(20, lengths) : null,
      onEvent: (event, { prepared }) => {
        if (event.type === "start") pool.budget = before + prepared.forecast.peak; // exclude memory of earlier tests
        return undefined;
      },
    });
    const peak = pool.ledger.peak - before;
    const { forecast } = run.prepared;
    expect(peak, `ledger ${peak}, forecast ${forecast.peak}`).toBeLessThanOrEqual(forecast.peak);
    expect(peak).toBeGreaterThan(0.9 * forecast.peak);
  });

  it("does not grow over thirty steps of varying lengths", async () => {
    const { pool } = gpu();
    const seen: number[] = [];
    await train(gpu(), {
      recipe: recipeOf({ max_steps: 30 }),
      rows: tinyRows(60, { shortest: 3, longest: 120 }),
      onEvent: (event) => {
        if (event.type === "step") seen.push(pool.ledger.allocated);
        return undefined;
      },
    });
    const highest = (part: number[]) => Math.max(...part);
    expect(highest(seen.slice(20))).toBeLessThanOrEqual(1.05 * highest(seen.slice(0, 15)));
    expect(gpu().staging.bytes).toBeLessThan(4 << 20);
    expect(gpu().bindGroups.size).toBeLessThan(20_000);
  });
});
