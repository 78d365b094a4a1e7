import { describe, expect, test } from "vitest";
import type { Job } from "../../src/client/types.ts";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";
import { PRESETS } from "../../workers/session/presets.ts";
import {
  formatForm,
  formFields,
  nameOfData,
  nameOfModel,
  parseForm,
  phaseRecipe,
  phaseYaml,
  storedName,
} from "../../workers/session/recipes.ts";
import { jobOf } from "./jobs.ts";

describe("a form", () => {
  test("has the options of a method, without those that a job decides", () => {
    for (const method of ["sft", "grpo"] as const) {
      const names = formFields(method).map(({ name }) => name);
      expect(names).toContain("learning_rate");
      for (const name of ["model_name_or_path", "output_dir", "dataset_name", "judge_cache"])
        expect(names).not.toContain(name);
    }
    const rewards = formFields("grpo").find(({ name }) => name === "reward_funcs")!;
    expect(rewards.choices).toEqual(expect.arrayContaining([...GSM8K_REWARDS, "judge"]));
  });

  test("keeps what differs from the defaults, and says what it leaves out", async () => {
    const { recipe, notes } = await parseForm("lora_r: 4\nlora_alpha: 16\noutput_dir: mine\nmax_steps: 3\n", "sft");
    expect(recipe).toMatchObject({ lora_r: 4, max_steps: 3 });
    expect(recipe).not.toHaveProperty("output_dir");
    expect(notes.at(-1)).toBe("output_dir: set by this page, not by the recipe");
    expect(await parseForm(recipe, "sft")).toMatchObject({ recipe });
  });

  test("is written as YAML that reads back as the same", async () => {
    const recipe = { learning_rate: 1e-4, max_steps: 7 };
    expect((await parseForm(await formatForm(recipe, "grpo"), "grpo")).recipe).toMatchObject(recipe);
  });

  test("refuses a recipe that cannot be, in the recipe's own words", async () => {
    await expect(parseForm({ lora_rank: 4 }, "sft")).rejects.toThrow("did you mean lora_r?");
  });
});

describe("the recipe of a phase", () => {
  test("saves, goes on with the first phase's adapter, and takes GSM8K's rewards for the embedded problems", () => {
    const first = phaseRecipe(jobOf({}, { recipe: { save_strategy: "no", lora_r: 4, lora_alpha: 12 } }), 0).recipe;
    expect(first).toMatchObject({ save_strategy: "steps", output_dir: "phase-1", save_total_limit: 2, lora_r: 4 });
    const second = phaseRecipe(jobOf({}, { recipe: { lora_r: 4, lora_alpha: 12 } }), 1).recipe;
    expect(second).toMatchObject({
      output_dir: "phase-2",
      lora_r: 4,
      lora_alpha: 12,
      reward_funcs: [...GSM8K_REWARDS],
    });
  });

  test("names model and data as the hub does", () => {
    const job: Job = jobOf(
      { model: { kind: "hub", id: "Qwen/Qwen2.5-0.5B", revision: "main" } },
      { data: { kind: "hub", id: "openai/gsm8k", config: "main", split: "train" } },
    );
    expect(phaseRecipe(job, 0).recipe).toMatchObject({
      model_name_or_path: "Qwen/Qwen2.5-0.5B",
      model_revision: "main",
      dataset_name: "openai/gsm8k",
      dataset_config: "main",
      dataset_train_split: "train",
    });
  });

  test("refuses another adapter's shape later, and fields that the page sets", () => {
    expect(() => phaseRecipe(jobOf({}, {}, { recipe: { lora_r: 8 } }), 1)).toThrow(
      "Phase 2 continues with the adapter of phase 1, whose lora_r is 4, not 8",
    );
    expect(() => phaseRecipe(jobOf({}, { recipe: { output_dir: "x" } }), 0)).toThrow("output_dir is set by this page");
  });

  test("is YAML for a cluster", async () => {
    expect(await phaseYaml(phaseRecipe(jobOf(), 0))).toMatch(/^lora_r: 4$/m);
  });

  test("of every preset is one that its method takes", async () => {
    expect(PRESETS.length).toBeGreaterThan(2);
    for (const { method, recipe } of PRESETS) {
      const job = jobOf({}, { method, recipe } as never);
      expect(phaseRecipe(job, 0).recipe).toMatchObject({ max_steps: recipe.max_steps ?? -1 });
      expect((await parseForm({ ...recipe }, method)).notes.join()).not.toContain("set by this page");
    }
  });
});

test("names of models and data are those that their owners know", () => {
  expect(nameOfModel({ kind: "embedded" })).toBe("the embedded model");
  expect(nameOfModel({ kind: "stored", id: "models/my-model-1a2b3c4d" })).toBe("my-model");
  expect(nameOfData({ kind: "stored", id: "data/sums.csv-1a2b3c4d" })).toBe("sums.csv");
  expect(storedName("hub/models--Qwen--Qwen2.5-0.5B")).toBe("Qwen/Qwen2.5-0.5B");
  expect(storedName("hub/datasets--openai--gsm8k")).toBe("openai/gsm8k");
});
