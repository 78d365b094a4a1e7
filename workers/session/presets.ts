import type { Preset } from "../../src/client/types.ts";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";

/**
 * Recipes to start from. Those of the embedded model match `npm start` and take a few minutes on a CPU. Checkpoints are
 * frequent, because the user may close the tab at any time.
 */
export const PRESETS: readonly Preset[] = [
  {
    id: "embedded-sft",
    model: "embedded",
    name: "Embedded model, learn the form",
    help: "Teaches the embedded model to answer between tags. Half a minute on a GPU.",
    method: "sft",
    recipe: {
      lora_dropout: 0,
      per_device_train_batch_size: 16,
      max_length: 256,
      learning_rate: 2e-3,
      lr_scheduler_type: "cosine",
      warmup_steps: 5,
      max_steps: 48,
      logging_steps: 1,
      save_steps: 5,
    },
  },
  {
    id: "embedded-grpo",
    model: "embedded",
    name: "Embedded model, learn to be right",
    help: "Rewards the embedded model for right answers in the right form.",
    method: "grpo",
    recipe: {
      lora_dropout: 0,
      per_device_train_batch_size: 64,
      num_generations: 8,
      max_completion_length: 48,
      learning_rate: 3e-4,
      lr_scheduler_type: "constant",
      beta: 0.01,
      max_steps: 30,
      logging_steps: 1,
      save_steps: 5,
      reward_funcs: [...GSM8K_REWARDS],
    },
  },
  {
    id: "small-sft",
    model: null,
    name: "Qwen 0.5B, supervised",
    help: "LoRA on a model of half a billion parameters, for rows of up to 512 tokens.",
    method: "sft",
    recipe: {
      per_device_train_batch_size: 2,
      gradient_accumulation_steps: 4,
      max_length: 512,
      learning_rate: 2e-4,
      warmup_steps: 0.03,
      num_train_epochs: 1,
      logging_steps: 1,
      save_steps: 20,
    },
  },
  {
    id: "small-grpo",
    model: null,
    name: "Qwen 0.5B, GSM8K by reward",
    help: "The GSM8K recipe with its five rewards: form first, then the right number.",
    method: "grpo",
    recipe: {
      per_device_train_batch_size: 8,
      num_generations: 8,
      max_prompt_length: 256,
      max_completion_length: 200,
      learning_rate: 5e-6,
      max_steps: 250,
      logging_steps: 1,
      save_steps: 10,
      reward_funcs: [...GSM8K_REWARDS],
      system_prompt: "Respond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>",
    },
  },
];
