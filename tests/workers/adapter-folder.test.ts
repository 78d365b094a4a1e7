import { expect, test } from "vitest";
import { parse } from "yaml";
import type { Job } from "../../src/client/types.ts";
import { parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { adapterFolder, recipeFiles } from "../../workers/session/adapter-folder.ts";
import { phaseRecipe, phaseYaml } from "../../workers/session/recipes.ts";
import { newRun } from "../../workers/session/runs.ts";

const job: Job = {
  name: "Two phases\nof one run",
  model: { kind: "hub", id: "Qwen/Qwen3-0.6B" },
  phases: [
    { method: "sft", data: { kind: "hub", id: "openai/gsm8k", config: "main" }, recipe: { max_steps: 3, lora_r: 4 } },
    { method: "grpo", data: { kind: "hub", id: "openai/gsm8k", config: "main" }, recipe: { max_steps: 2, beta: 0.1 } },
  ],
  evaluate: { data: { kind: "hub", id: "openai/gsm8k", config: "main", split: "test" }, problems: 4 },
};

async function made() {
  const recipes = await Promise.all(job.phases.map((_, i) => phaseYaml(phaseRecipe(job, i))));
  const run = newRun("id", job, { model: "Qwen/Qwen3-0.6B", data: "openai/gsm8k", recipes });
  run.logs = [[{ step: 1, loss: 2 }], [{ step: 1, reward: 0.5 }]];
  const problem = { question: "q", gold: "1", completion: "1", answer: "1" };
  run.evaluations = [
    {
      stage: "base",
      phase: 0,
      accuracy: 0.5,
      problems: [
        { ...problem, correct: true },
        { ...problem, correct: false },
      ],
    },
  ];
  return run;
}

test("one recipe per phase, each one YAML document that qwench reads", async () => {
  const files = recipeFiles(await made());
  expect(files.map(({ name }) => name)).toEqual(["1-sft.yaml", "2-grpo.yaml"]);
  for (const [i, { content }] of files.entries()) {
    const { method } = job.phases[i];
    expect(content.split("\n")[0]).toMatch(
      new RegExp(`^# Phase ${i + 1} of 2 of Two phases of one run: qwench ${method}`),
    );
    expect(parse(content)).toMatchObject({ model_name_or_path: "Qwen/Qwen3-0.6B", dataset_name: "openai/gsm8k" });
    const { recipe } = parseRecipeYaml(content, "x.yaml", method);
    expect(recipe).toMatchObject({ max_steps: [3, 2][i], lora_r: 4 });
  }
});

test("an adapter's folder has a card with its numbers, the recipes and the metrics", async () => {
  const text: Record<string, string> = {};
  const exported = async function* () {
    const config = { r: 4, lora_alpha: 8, use_rslora: false, target_modules: ["q_proj"], base_model_name_or_path: "b" };
    yield { name: "adapter_config.json", content: JSON.stringify(config) };
    yield { name: "adapter_model.safetensors", content: new Uint8Array([1, 2]) };
  };
  for await (const { name, content } of adapterFolder(await made(), "me/mine", exported()))
    text[name] = typeof content === "string" ? content : "bytes";
  expect(Object.keys(text)).toEqual([
    ...["adapter_config.json", "adapter_model.safetensors", "1-sft.yaml", "2-grpo.yaml", "metrics.jsonl", "README.md"],
  ]);
  expect(
    text["metrics.jsonl"]
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { phase: 1, step: 1, loss: 2 },
    { phase: 2, step: 1, reward: 0.5 },
  ]);
  const card = text["README.md"];
  expect(card).toMatch(/base_model: Qwen\/Qwen3-0\.6B/);
  expect(card).toMatch(/LoRA of rank 4, α 8, on q_proj/);
  expect(card).toMatch(/Qwen\/Qwen3-0\.6B, before \| openai\/gsm8k \|\s+2 \|\s+50\.0/);
  expect(card).toMatch(/`trl grpo`/);
});
