import { describe, expect, it } from "vitest";
import { publishedShape } from "../../src/model/architectures/published.ts";
import { type Method, parseRecipe, type Recipe } from "../../src/recipe/recipe.ts";
import { quickForecast, waysOut } from "../../src/session/quick-forecast.ts";
import { forecastOf } from "../../src/session/recipe-forecast.ts";

const FIELDS = {
  sft: { max_length: 128, per_device_train_batch_size: 4 },
  grpo: { max_completion_length: 96, num_generations: 4, per_device_train_batch_size: 4 },
  dpo: { max_length: 64, per_device_train_batch_size: 2 },
} as const;
const recipeOf = (method: Method, fields: Record<string, unknown> = {}) =>
  parseRecipe({ ...FIELDS[method], ...fields }, method).recipe as Recipe<Method>;
const shape = publishedShape("Qwen/Qwen2.5-0.5B")!;

describe("the quick forecast, from shallow models, is that of the whole model", () => {
  it.each([
    ["sft", "Qwen/Qwen2.5-0.5B", {}],
    ["sft", "Qwen/Qwen3.5-0.8B", { gradient_checkpointing: false }],
    ["grpo", "Qwen/Qwen2.5-0.5B", { load_in_4bit: true }],
    ["dpo", "Qwen/Qwen2.5-0.5B", {}],
  ] as const)("%s of %s", async (method, id, fields) => {
    const recipe = recipeOf(method, fields);
    const assumptions = { shape: publishedShape(id)!, longest: 64 };
    const quick = await quickForecast(recipe, method, assumptions);
    const whole = await forecastOf(recipe, method, assumptions);
    expect(quick.peak / whole.peak).toBeCloseTo(1, 3);
    expect([quick.trainable, quick.parameters, quick.tokens]).toEqual([
      whole.trainable,
      whole.parameters,
      whole.tokens,
    ]);
  });
});

it("a run that is far too large is forecast with as few dispatches as others: the forecast ends", async () => {
  const fields = { per_device_train_batch_size: 64, num_generations: 16, max_completion_length: 4096 };
  const { peak } = await quickForecast(recipeOf("grpo", fields), "grpo", { shape, longest: 256 });
  expect(peak / 2 ** 30).toBeGreaterThan(60);
});

describe("ways out of a run that is too large", () => {
  const assumptions = { shape, longest: 512 };
  it("each fit, and keep the step", async () => {
    const recipe = recipeOf("sft", { max_length: 512, per_device_train_batch_size: 8, gradient_checkpointing: false });
    const { peak } = await quickForecast(recipe, "sft", assumptions);
    const available = 0.8 * peak;
    const ways = await waysOut(recipe, "sft", assumptions, available);
    expect(ways.map(({ text }) => text)).toEqual([
      "4 rows a pass, 2 passes a step",
      "recomputed activations",
      expect.stringMatching(/^max length \d+$/),
    ]);
    for (const { fields, peak: promised } of ways) {
      const changed = { ...recipe, ...fields } as Recipe<"sft">;
      const longest = Math.min(512, changed.max_length!);
      const { peak: made } = await quickForecast(changed, "sft", { shape, longest });
      expect(made).toBe(promised);
      expect(made).toBeLessThanOrEqual(available);
      expect(changed.per_device_train_batch_size * changed.gradient_accumulation_steps).toBe(8);
    }
    const longer = { ...recipe, max_length: (ways[2].fields.max_length as number) + 16 } as Recipe<"sft">;
    const { peak: over } = await quickForecast(longer, "sft", { shape, longest: longer.max_length as number });
    expect(over).toBeGreaterThan(available); // the length is the longest that fits
  });
  it("are put together if none suffices, and are none if nothing does", async () => {
    const recipe = recipeOf("grpo", { max_completion_length: 512 });
    const { peak } = await quickForecast(recipe, "grpo", assumptions);
    const [way, ...others] = await waysOut(recipe, "grpo", assumptions, 0.5 * peak);
    expect(others).toEqual([]);
    expect(way.fields).toMatchObject({
      per_device_train_batch_size: 1,
      gradient_accumulation_steps: 4,
      load_in_4bit: true,
    });
    expect(way.peak).toBeLessThanOrEqual(0.5 * peak);
    expect(await waysOut(recipe, "grpo", assumptions, 1e6)).toEqual([]);
  });
});
