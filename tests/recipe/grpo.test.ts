import { describe, expect, test } from "vitest";
import { RecipeError } from "../../src/errors.ts";
import { generationOf, parseRecipe } from "../../src/recipe/recipe.ts";
import { formatRecipeYaml, parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { cpuTime } from "../cpu-time.ts";

const grpo = (input: unknown) => parseRecipe(input, "grpo");
const recipe = (input: unknown) => grpo(input).recipe;

/** Arguments of the GSM8K recipe that many copy, as they are written for TRL. */
const gsm8k = {
  use_vllm: true,
  vllm_gpu_memory_utilization: 0.3,
  learning_rate: "5e-6",
  adam_beta1: 0.9,
  adam_beta2: 0.99,
  weight_decay: 0.1,
  warmup_ratio: 0.1,
  lr_scheduler_type: "cosine",
  logging_steps: 1,
  bf16: true,
  per_device_train_batch_size: 1,
  gradient_accumulation_steps: 4,
  num_generations: 16,
  max_prompt_length: 256,
  max_completion_length: 200,
  num_train_epochs: 1,
  save_steps: 100,
  max_grad_norm: 0.1,
  report_to: "wandb",
  log_on_each_node: false,
};

describe("defaults", () => {
  test("are GRPOConfig's", () => {
    expect(recipe({})).toMatchObject({
      learning_rate: 1e-6,
      shuffle_dataset: true,
      num_generations: 8,
      num_generations_eval: null,
      max_completion_length: 512,
      generation_batch_size: null,
      steps_per_generation: null,
      num_iterations: 1,
      beta: 0,
      epsilon: 0.2,
      epsilon_high: null,
      delta: null,
      use_bias_correction_kl: true,
      sapo_temperature_pos: 1,
      sapo_temperature_neg: 1.05,
      vespo_k_pos: 2,
      vespo_lambda_pos: 3,
      vespo_k_neg: 3,
      vespo_lambda_neg: 2,
      top_entropy_quantile: 1,
      off_policy_mask_threshold: null,
      entropy_coef: 0,
      use_adaptive_entropy: false,
      entropy_coef_min: 0,
      entropy_coef_max: 1,
      entropy_coef_delta: 0.005,
      entropy_target: 0.2,
      multi_objective_aggregation: "sum_then_normalize",
      scale_rewards: "group",
      loss_type: "dapo",
      importance_sampling_level: "token",
      mask_truncated_completions: false,
      temperature: 1,
      top_k: 0,
      top_p: 1,
      min_p: 0,
      repetition_penalty: 1,
      reward_funcs: null,
      reward_weights: null,
      log_completions: false,
      lora_r: 16,
    });
    expect(grpo({}).notes).toEqual([]);
  });

  test("of SFT stay as they are", () => {
    expect(parseRecipe({}, "sft").recipe).toMatchObject({
      learning_rate: 2e-5,
      shuffle_dataset: false,
      metric_for_best_model: null,
    });
  });
});

describe("values", () => {
  test.each([
    ["top_k", -1, 0],
    ["top_k", null, 0],
    ["top_k", "None", 0],
    ["min_p", null, 0],
    ["scale_rewards", true, "group"],
    ["scale_rewards", "False", "none"],
    ["scale_rewards", "batch", "batch"],
    ["reward_funcs", "xmlcount_reward_func ./my.ts", ["xmlcount_reward_func", "./my.ts"]],
    ["reward_funcs", ["./my rewards.js:f"], ["./my rewards.js:f"]],
    ["reward_funcs", ["null"], null],
    ["reward_timeout", null, null],
    ["delta", "none", null],
  ])("%s takes %j", (name, given, read) => {
    expect((recipe({ [name]: given }) as Record<string, unknown>)[name]).toEqual(read);
  });

  test.each([
    ["1 1 0.5", [1, 1, 0.5]],
    [
      ["1", -0.5, 1],
      [1, -0.5, 1],
    ],
  ])("reward_weights takes %j", (given, read) => {
    expect(recipe({ reward_funcs: ["a", "b", "c"], reward_weights: given }).reward_weights).toEqual(read);
  });

  test.each([
    [{ num_generations: 1 }, "num_generations must be an integer of at least 2, got 1"],
    [{ temperature: 0 }, "temperature must be a number above 0, got 0"],
    [{ top_p: 0 }, "top_p must be a number above 0 and at most 1, got 0"],
    [{ top_k: -2 }, "top_k must be an integer of at least 0, got -2"],
    [{ min_p: 1.5 }, "min_p must be a number of at least 0 and at most 1, got 1.5"],
    [{ beta: -0.1 }, "beta must be a number of at least 0, got -0.1"],
    [{ max_completion_length: 0 }, "max_completion_length must be an integer of at least 1, got 0"],
    [{ reward_timeout: 0 }, "reward_timeout must be a number above 0 or null, got 0"],
    [{ reward_weights: [1, "x"] }, 'reward_weights must be a list of numbers or null, got [1,"x"]'],
    [{ reward_weights: [Number.NaN] }, "reward_weights must be a list of numbers or null"],
    [{ reward_weights: [] }, "reward_weights must be a list of numbers or null, got []"],
    [{ reward_funcs: ["a", "b", "a"] }, '"a" is there twice'],
    [{ reward_funcs: [1] }, "reward_funcs must be a list of names or null, got [1]"],
    [{ scale_rewards: "mean" }, "scaling by the group's mean is not implemented"],
    [{ top_entropy_quantile: 1.2 }, "top_entropy_quantile must be a number of at least 0 and at most 1, got 1.2"],
    [{ sapo_temperature_pos: 0 }, "sapo_temperature_pos must be a number above 0, got 0"],
    [{ use_adaptive_entropy: true, entropy_coef_min: 2 }, "entropy_coef_min 2 is above entropy_coef_max 1"],
    [{ multi_objective_aggregation: "gdpo" }, "must be one of sum_then_normalize, normalize_then_sum"],
    [{ loss_type: "nll" }, "loss_type must be one of dapo, grpo"],
  ])("%j is refused", (input, message) => {
    expect(() => recipe(input)).toThrow(RecipeError);
    expect(() => recipe(input)).toThrow(message);
  });
});

describe("names", () => {
  test("of the other method are told from unknown ones", () => {
    expect(() => recipe({ packing: true })).toThrow('Unknown recipe key "packing": it belongs to sft, not to grpo');
    expect(() => recipe({ max_seq_length: 512 })).toThrow("it belongs to sft, not to grpo");
    for (const name of ["num_generations", "vllm_mode", "sync_ref_model"]) {
      expect(() => parseRecipe({ [name]: 2 }, "sft")).toThrow(
        `Unknown recipe key "${name}": it belongs to grpo, not to sft`,
      );
    }
    expect(() => recipe({ num_generation: 2 })).toThrow("did you mean num_generations?");
  });

  test("max_prompt_length is a field in GRPO and changes nothing in SFT", () => {
    expect(grpo({ max_prompt_length: 256 })).toMatchObject({ recipe: { max_prompt_length: 256 }, notes: [] });
    const sft = parseRecipe({ max_prompt_length: 256 }, "sft");
    expect(sft.notes).toEqual([
      "max_prompt_length is ignored: it belongs to GRPO; in SFT max_length limits the whole row",
    ]);
    expect(sft.recipe).toEqual(parseRecipe({}, "sft").recipe);
  });

  test("of GRPOConfig's that change nothing are noted", () => {
    const { notes } = grpo({
      use_vllm: true,
      vllm_mode: "colocate",
      vllm_importance_sampling_correction: false,
      label_smoothing_factor: 0,
      group_by_length: true,
      top_entropy_quantile: "1.0",
      multi_objective_aggregation: "sum_then_normalize",
      generation_kwargs: {},
      sync_ref_model: false,
    });
    expect(notes).toEqual([
      "use_vllm is ignored: Qwench generates completions itself, on the same GPU",
      "vllm_mode is ignored: Qwench generates completions itself, on the same GPU",
      "group_by_length is ignored: shuffle_dataset decides the order of the prompts",
    ]);
    expect(() => parseRecipe({ use_vllm: true }, "sft")).toThrow("use_vllm cannot be used (got true)");
  });

  test("of transformers' generation go before the fields", () => {
    const given = { generation_kwargs: { top_k: 50, max_new_tokens: "64", min_p: null }, top_k: 3, min_p: 0.1 };
    expect(recipe(given)).toMatchObject({ top_k: 50, max_completion_length: 64, min_p: 0 });
    const stop_strings = ["</answer>, ", "\n\n"];
    expect(recipe({ generation_kwargs: { stop_strings } }).stop_strings).toEqual(stop_strings);
    expect(recipe({ stop_strings: " the end" }).stop_strings).toEqual([" the end"]);
    expect(() => recipe({ stop_strings: ["a", ""] })).toThrow(
      "stop_strings must be one or more texts that are not empty",
    );
  });

  test("of other losses and of controls that are off are noted", () => {
    expect(grpo({ sapo_temperature_pos: 2, vespo_k_neg: 1, entropy_target: 1 }).notes).toEqual([
      "sapo_temperature_pos is ignored: dapo does not read it",
      "vespo_k_neg is ignored: dapo does not read it",
      "entropy_target is ignored: use_adaptive_entropy is false",
    ]);
    expect(grpo({ loss_type: "luspo" }).notes).toEqual([
      "luspo is meant for importance_sampling_level: sequence, and it is token",
    ]);
    expect(grpo({ loss_type: "sapo", sapo_temperature_pos: 2 }).notes).toEqual([]);
    expect(grpo({ multi_objective_aggregation: "normalize_then_sum", scale_rewards: "none" }).notes).toEqual([
      "scale_rewards is ignored: normalize_then_sum scales in its own way",
    ]);
  });

  test.each([
    [
      { sync_ref_model: true },
      "sync_ref_model cannot be used (got true): the reference stays as it is before training",
    ],
    [
      { generation_kwargs: { num_beams: 2 } },
      'generation_kwargs takes temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens, stop_strings, got "num_beams"',
    ],
    [{ generation_kwargs: { top_p: 2 } }, "top_p must be a number above 0 and at most 1, got 2"],
    [{ vllm_guided_decoding_regex: "a+" }, "constrained generation is not implemented"],
    [{ neftune_noise_alpha: 5 }, "neftune_noise_alpha cannot be used (got 5)"],
    [{ deepspeed: "z.json" }, "one adapter in one process"],
  ])("%j is refused with the reason", (input, message) => {
    expect(() => recipe(input)).toThrow(RecipeError);
    expect(() => recipe(input)).toThrow(message);
  });
});

describe("the generation batch", () => {
  test.each([
    [{}, 1, 8, 1],
    [{ gradient_accumulation_steps: 4 }, 4, 32, 4],
    [{ steps_per_generation: 2, gradient_accumulation_steps: 4 }, 2, 16, 2],
    [{ generation_batch_size: 24, num_generations: 6 }, 3, 24, 4],
    [{ generation_batch_size: 16, steps_per_generation: 2 }, 2, 16, 2],
    [{ per_device_train_batch_size: 1, num_generations: 16, generation_batch_size: 16 }, 16, 16, 1],
  ])("of %j: %i passes, %i completions, %i prompts", (input, steps_per_generation, generation_batch_size, prompts) => {
    const read = recipe(input);
    expect(generationOf(read)).toEqual({ steps_per_generation, generation_batch_size, prompts });
    expect(read).toMatchObject(input);
  });

  test.each([
    [
      { num_generations: 6 },
      "per_device_train_batch_size 8 × gradient_accumulation_steps 1 = 8 completions (not prompts) are not a multiple " +
        "of num_generations 6: try per_device_train_batch_size 6 or 12, or gradient_accumulation_steps 3, or " +
        "generation_batch_size 24, or num_generations 4 or 8",
    ],
    [
      { steps_per_generation: 3, num_generations: 9 },
      "per_device_train_batch_size 8 × steps_per_generation 3 = 24 completions (not prompts) are not a multiple of " +
        "num_generations 9: try per_device_train_batch_size 6 or 9, or steps_per_generation 9, or num_generations 8 or 12",
    ],
    [
      { generation_batch_size: 12 },
      "generation_batch_size 12 is not a multiple of per_device_train_batch_size 8: try generation_batch_size 8 or 16",
    ],
    [
      { generation_batch_size: 16, num_generations: 6 },
      "generation_batch_size 16 is not a multiple of num_generations 6: try generation_batch_size 24, or " +
        "num_generations 4 or 8",
    ],
    [
      { generation_batch_size: 16, steps_per_generation: 3 },
      "generation_batch_size 16 is not per_device_train_batch_size 8 × steps_per_generation 3 = 24: set only one of " +
        "generation_batch_size and steps_per_generation",
    ],
    [
      { eval_strategy: "steps", num_generations_eval: 3 },
      "per_device_eval_batch_size 8 (completions) is not a multiple of num_generations_eval 3: try " +
        "per_device_eval_batch_size 6 or 9, or num_generations_eval 2 or 4",
    ],
    [
      { eval_strategy: "steps", num_generations: 4, per_device_eval_batch_size: 6 },
      "per_device_eval_batch_size 6 (completions) is not a multiple of num_generations 4: try " +
        "per_device_eval_batch_size 4 or 8, or num_generations_eval 3 or 6",
    ],
  ])("%j is refused with what would do", (input, message) => {
    expect(() => recipe(input)).toThrow(RecipeError);
    expect(() => recipe(input)).toThrow(message);
  });

  test("whatever an error proposes is accepted", () => {
    for (let batch = 1; batch <= 9; batch++) {
      for (let steps = 1; steps <= 5; steps++) {
        for (let group = 2; group <= 12; group++) {
          for (const given of [
            { gradient_accumulation_steps: steps },
            { steps_per_generation: steps },
            { generation_batch_size: 3 * steps },
          ]) {
            const input = { per_device_train_batch_size: batch, num_generations: group, ...given };
            for (const [name, value] of proposals(input)) {
              expect(
                () => recipe({ ...input, [name]: value }),
                `${JSON.stringify(input)} with ${name} ${value}`,
              ).not.toThrow();
            }
          }
        }
      }
    }
  });

  test("of absurd size is refused at once", () => {
    const spent = cpuTime();
    expect(() => recipe({ per_device_train_batch_size: 1, generation_batch_size: 2 ** 53 - 111 })).toThrow(RecipeError);
    expect(spent()).toBeLessThan(2);
  });

  test("evaluation may be of any size while there is none", () => {
    expect(recipe({ num_generations_eval: 3 }).num_generations_eval).toBe(3);
    expect(recipe({ eval_strategy: "epoch", num_generations_eval: 1 }).num_generations_eval).toBe(1);
  });
});

/** Names and values that the refusal of a recipe says to try; none where it is accepted. */
function proposals(input: Record<string, unknown>): [string, number][] {
  try {
    recipe(input);
    return [];
  } catch (error) {
    const tried = (error as Error).message.split(": try ")[1];
    return tried.split(", or ").flatMap((part) => {
      const [name, ...values] = part.split(/ (?:or )?/);
      expect(values.length).toBeGreaterThan(0);
      return values.map((value): [string, number] => [name, Number(value)]);
    });
  }
}

describe("rules that span fields", () => {
  test.each([
    [
      { beta: 0.04, use_peft: false },
      "beta 0.04 needs use_peft: true, got false: the reference is the model without its",
    ],
    [{ reward_weights: [1, 2] }, "reward_weights must hold one number for each of reward_funcs, got [1,2] for null"],
    [{ reward_funcs: ["a"], reward_weights: [1, 2] }, 'got [1,2] for ["a"]'],
    [{ load_best_model_at_end: true }, "eval_strategy and save_strategy to be the same"],
    [{ use_peft: false, adapter_name_or_path: "a" }, "adapter_name_or_path needs use_peft: true"],
  ])("%j is refused", (input, message) => {
    expect(() => recipe(input)).toThrow(RecipeError);
    expect(() => recipe(input)).toThrow(message);
  });

  test("no reference is needed without beta", () => {
    expect(recipe({ use_peft: false }).beta).toBe(0);
    expect(recipe({ beta: 0.04 }).beta).toBe(0.04);
  });

  test("bounds of the ratio that do something else than it seems are noted", () => {
    expect(grpo({ loss_type: "cispo" }).notes).toEqual([
      "epsilon_high is 0.2: cispo clips the ratio itself there, 1 included; 5 is usual",
    ]);
    expect(grpo({ loss_type: "cispo", epsilon_high: 5 }).notes).toEqual([]);
    expect(grpo({ loss_type: "cispo", epsilon_high: 5, delta: 2 }).notes).toEqual([
      "delta is ignored: cispo has one bound, epsilon_high",
    ]);
    expect(grpo({ delta: 1.1 }).notes).toEqual(["delta is 1.1: it clips before 1 + epsilon_high = 1.2 does"]);
    expect(grpo({ delta: 4 }).notes).toEqual([]);
  });

  test("disable_dropout puts lora_dropout to 0", () => {
    expect(recipe({ disable_dropout: true, lora_dropout: 0.1 }).lora_dropout).toBe(0);
    expect(recipe({ lora_dropout: 0.1 }).lora_dropout).toBe(0.1);
  });
});

describe("YAML", () => {
  const yaml = (values: Record<string, unknown>) =>
    Object.entries(values)
      .map(([name, value]) => `${name}: ${value}\n`)
      .join("");

  test("the GSM8K recipe as it was written for TRL says what to change, then parses with notes only", () => {
    expect(() => parseRecipeYaml(yaml(gsm8k), "gsm8k.yaml", "grpo")).toThrow(
      "per_device_train_batch_size 1 × gradient_accumulation_steps 4 = 4 completions (not prompts) are not a multiple " +
        "of num_generations 16: try per_device_train_batch_size 4, or gradient_accumulation_steps 16, or " +
        "generation_batch_size 16, or num_generations 4",
    );
    const { recipe: read, notes } = parseRecipeYaml(
      yaml({ ...gsm8k, generation_batch_size: 16 }),
      "gsm8k.yaml",
      "grpo",
    );
    expect(read).toMatchObject({ learning_rate: 5e-6, warmup_steps: 0.1, max_prompt_length: 256 });
    expect(generationOf(read)).toEqual({ steps_per_generation: 16, generation_batch_size: 16, prompts: 1 });
    expect(notes.map((note) => note.split(" ")[0])).toEqual([
      "use_vllm",
      "vllm_gpu_memory_utilization",
      "warmup_ratio",
    ]);
  });

  test("what is written reads back the same", () => {
    const before = recipe({
      reward_funcs: ["xmlcount_reward_func", "./my rewards.js:f"],
      reward_weights: [1, 0.5],
      scale_rewards: false,
      top_k: -1,
      max_prompt_length: 256,
      generation_batch_size: 16,
      loss_type: "grpo",
    });
    const short = formatRecipeYaml(before, "grpo");
    expect(parseRecipeYaml(short, "short", "grpo")).toEqual({ recipe: before, notes: [] });
    expect(parseRecipeYaml(formatRecipeYaml(before, "grpo", true), "full", "grpo").recipe).toEqual(before);
    expect(short).toContain("# rewards\nreward_funcs:\n  - xmlcount_reward_func\n");
    expect(short).toContain("metric_for_best_model: reward");
    expect(short).not.toContain("learning_rate");
    const plain = formatRecipeYaml(recipe({}), "grpo");
    for (const name of ["max_prompt_length", "reward_timeout", "chat_template_path", "system_prompt"]) {
      expect(plain).not.toContain(name);
    }
  });
});
