import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MISSIONS, missionJob } from "../../demo/mission/job.ts";
import { FILE, pageRecipes } from "../../scripts/page-recipes.ts";
import type { Job, Preset } from "../../src/client/types.ts";
import { PRESETS } from "../../workers/session/presets.ts";
import { parseForm, phaseRecipe } from "../../workers/session/recipes.ts";
import { inForm } from "../../workers/session/set-rows.ts";

const published: Preset[] = JSON.parse(readFileSync(FILE, "utf8"));

test("the page has the published recipes as they are, without what a page cannot do", async () => {
  expect(JSON.parse(await pageRecipes()), "run: npx tsx scripts/page-recipes.ts").toEqual(published);
  expect(published.map(({ name }) => name)).toContain("gsm8k-grpo-0.5b");
  for (const { recipe, method } of published) expect((await parseForm(recipe, method)).recipe).toEqual(recipe);
});

test("the mission: a job whose phases share the adapter's shape, the system prompt and the tags", () => {
  const job = missionJob([...PRESETS, ...published])!;
  const [sft, grpo] = [phaseRecipe(job, 0), phaseRecipe(job, 1)];
  expect([sft.method, grpo.method]).toEqual(["sft", "grpo"]);
  expect(sft.recipe).toMatchObject({
    model_name_or_path: "Qwen/Qwen2.5-0.5B-Instruct",
    dataset_format: "gsm8k",
    dataset_options: { form: "xml" },
    lora_r: 16,
  });
  expect(grpo.recipe.system_prompt).toBe(sft.recipe.system_prompt);
  expect(grpo.recipe).toMatchObject({ lora_alpha: 64, dataset_format: "gsm8k", num_generations: 16 });
});

test("the mission of Qwen3.5-0.8B teaches the form without thinking, as its rewards ask for it", () => {
  const job = missionJob([...PRESETS, ...published], MISSIONS[1])!;
  expect(job).toMatchObject({ name: "Qwen3.5-0.8B on GSM8K", model: { kind: "hub", id: "Qwen/Qwen3.5-0.8B" } });
  const [sft, grpo] = [phaseRecipe(job, 0), phaseRecipe(job, 1)];
  expect(sft.recipe.chat_template_kwargs).toEqual({ enable_thinking: false });
  expect(grpo.recipe).toMatchObject({ chat_template_kwargs: { enable_thinking: false }, lora_alpha: 64 });
  expect(grpo.recipe.system_prompt).toBe(sft.recipe.system_prompt);
});

test("GSM8K's rows of the hub are read in the published form, unless the recipe or a column mapping says otherwise", async () => {
  const job = (recipe: Record<string, unknown>, columns?: Record<string, string>): Job => ({
    name: "x",
    model: { kind: "embedded" },
    phases: [
      { method: "sft", data: { kind: "hub", id: "openai/gsm8k", config: "main", ...(columns && { columns }) }, recipe },
    ],
    evaluate: null,
  });
  const { recipe, notes } = phaseRecipe(job({}), 0);
  expect(notes.join()).toContain("<reasoning>");
  expect(phaseRecipe(job({ dataset_format: null }), 0).recipe).toMatchObject({
    dataset_format: null,
    system_prompt: null,
  });
  expect(phaseRecipe(job({}, { prompt: "question", completion: "answer" }), 0).recipe).toMatchObject({
    dataset_format: null,
  });
  const rows = (async function* () {
    yield { row: { question: "2 + 2?", answer: "It is <<2+2=4>>4.\n#### 4" }, number: 1, file: "x" };
  })();
  const made = [];
  for await (const { row } of inForm(rows, recipe as never, "train")) made.push(row);
  expect(made[0]).toMatchObject({
    prompt: [
      { role: "system", content: expect.stringContaining("Respond in the following format") },
      { role: "user", content: "2 + 2?" },
    ],
    completion: [{ role: "assistant", content: "<reasoning>\nIt is 4.\n</reasoning>\n<answer>\n4\n</answer>\n" }],
    answer: "4",
  });
});

test("options without a format are refused", () => {
  const none = (async function* () {})() as never;
  expect(() => inForm(none, { dataset_options: { form: "xml" } }, "train")).toThrow("need a dataset_format");
});
