import { existsSync } from "node:fs";
import { join } from "node:path";
import { XML_SYSTEM } from "../../data/sets/embedded.ts";
import type { Method } from "../../recipe/recipe.ts";
import { GSM8K_REWARDS } from "../../rewards/registry.ts";
import { embeddedModelFolder } from "./embedded-folder.ts";

/** Output folders of `npm start`, and of `qwench sft` and `qwench grpo` without a recipe. */
export const EMBEDDED_OUTPUT = "qwench-start";

/** Longest answer to an embedded problem in tokens: twice the length of a correct answer. */
export const EMBEDDED_ANSWER_TOKENS = 48;

const LORA = { lora_r: 16, lora_alpha: 32, lora_dropout: 0, save_strategy: "no" };

/** Options without effect if there are no checkpoints. */
const SAVING = ["save_steps", "save_total_limit", "load_best_model_at_end"];

const SFT = {
  per_device_train_batch_size: 16,
  max_steps: 48,
  learning_rate: 2e-3,
  lr_scheduler_type: "cosine",
  warmup_steps: 5,
  logging_steps: 8,
};

const GRPO = {
  reward_funcs: [...GSM8K_REWARDS],
  num_generations: 8,
  per_device_train_batch_size: 64,
  max_steps: 30,
  learning_rate: 3e-4,
  lr_scheduler_type: "constant",
  max_completion_length: EMBEDDED_ANSWER_TOKENS,
  logging_steps: 5,
};

const DPO = {
  per_device_train_batch_size: 16,
  max_steps: 16,
  learning_rate: 2e-3,
  lr_scheduler_type: "cosine",
  logging_steps: 2,
};

/**
 * The default recipe of a method: the embedded model on its own problems.
 *
 * SFT teaches the answer format. DPO teaches the model to prefer worked answers to guesses. GRPO continues from SFT's adapter
 * in the folder. Without that adapter, a system message asks for the format.
 *
 * @param overrides the user's fields; a field about saving turns checkpoints on
 * @throws {NotFoundError} the installation lacks the model
 */
export function embeddedRecipe(
  method: Method,
  overrides: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const model = embeddedModelFolder();
  const output = (name: Method) => `${EMBEDDED_OUTPUT}/${name}`;
  const common = {
    ...LORA,
    model_name_or_path: model,
    dataset_name: join(model, method === "dpo" ? "preferences" : "problems"),
    output_dir: output(method),
    ...(SAVING.some((name) => name in overrides) && { save_strategy: "steps" }),
  };
  if (method === "sft") return { ...common, ...SFT };
  if (method === "dpo") return { ...common, ...DPO };
  const adapter = existsSync(join(output("sft"), "adapter_config.json"));
  return { ...common, ...GRPO, ...(adapter ? { adapter_name_or_path: output("sft") } : { system_prompt: XML_SYSTEM }) };
}
