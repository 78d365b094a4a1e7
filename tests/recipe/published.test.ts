import { readdirSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { shapeOf } from "../../src/cli/commands/recipe.ts";
import { publishedRecipe, publishedText, readPublished, recipesFolder } from "../../src/cli/sources/published.ts";
import { tinyShape } from "../../src/cli/sources/tiny-model.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { RECIPES } from "../../src/recipe/published.ts";
import { fieldsOf, methods } from "../../src/recipe/recipe.ts";
import { trlConfig } from "../../src/recipe/trl.ts";
import { forecastOf } from "../../src/session/recipe-forecast.ts";
import { formatBytes } from "../../src/text/bytes.ts";
import { TRL_FIELDS } from "./trl-fields.ts";

const SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

describe("published recipes", () => {
  it("are the files of their folder, found from the source and from the bundle", () => {
    const files = readdirSync(recipesFolder()).filter((file) => file.endsWith(".yaml"));
    expect(RECIPES.map(({ file }) => file).sort()).toEqual(files.sort());
    const bundle = pathToFileURL(`${recipesFolder()}/../dist/cli.js`).href;
    expect(recipesFolder(bundle)).toBe(recipesFolder());
    expect(() => recipesFolder("file:///nowhere/at/all.js")).toThrow(/Cannot find the recipes/);
  });

  it.each(RECIPES.map((recipe) => [recipe.name, recipe] as const))(
    "%s is a recipe, with its source",
    (name, published) => {
      const head = publishedText(published).split(/^\w/m)[0];
      expect(head).toContain(published.source);
      const { recipe, notes } = readPublished(name, published.method, {});
      expect(notes).toEqual([]);
      expect(recipe).toMatchObject({
        model_name_or_path: expect.any(String),
        output_dir: expect.stringMatching(/^qwench-/),
      });
      expect(shapeOf(recipe).model_type).toMatch(/^qwen/);
    },
  );

  // what was published, as the recipes' specification has it
  it.each<[string, Record<string, unknown>]>([
    [
      "o5-mini-sft",
      {
        model_name_or_path: "Qwen/Qwen2.5-3B",
        lora_r: 32,
        lora_alpha: 64,
        lora_target_modules: SEVEN,
        optim: "adamw_8bit",
        learning_rate: 2e-4,
        num_train_epochs: 2,
        warmup_steps: 5,
        gradient_accumulation_steps: 2,
        max_length: 32768,
      },
    ],
    [
      "o5-mini-grpo",
      {
        model_name_or_path: "Qwen/Qwen2.5-3B",
        lora_r: 32,
        lora_alpha: 64,
        lora_target_modules: SEVEN,
        optim: "adamw_8bit",
        learning_rate: 5e-5,
        temperature: 0.6,
        num_generations: 4,
        max_steps: 100,
        max_prompt_length: 1024,
        max_completion_length: 32768 - 1024,
      },
    ],
    ["gsm8k-grpo-0.5b", { model_name_or_path: "Qwen/Qwen2.5-0.5B-Instruct", num_generations: 16, learning_rate: 5e-6 }],
    [
      "qwen3.5-gsm8k-grpo",
      {
        model_name_or_path: "Qwen/Qwen3.5-0.8B",
        num_generations: 8,
        lora_r: 16,
        lora_target_modules: "all-linear",
        chat_template_kwargs: { enable_thinking: false },
      },
    ],
    [
      "qwen3.5-chat-sft",
      {
        model_name_or_path: "Qwen/Qwen3.5-0.8B",
        dataset_name: "trl-lib/Capybara",
        max_length: 2048,
        packing: true,
        lora_r: 16,
        learning_rate: 2e-4,
        chat_template_kwargs: { enable_thinking: false },
      },
    ],
    [
      "ocr-sft-qwen3.5",
      {
        model_name_or_path: "Qwen/Qwen3.5-0.8B",
        lora_r: 16,
        lora_alpha: 32,
        finetune_vision_layers: false,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 4,
        learning_rate: 2e-4,
        max_grad_norm: 0.3,
        weight_decay: 0.01,
        max_length: null,
      },
    ],
    ["coder-deep", { model_name_or_path: "Qwen/Qwen2.5-Coder-1.5B-Instruct", save_steps: 100, num_train_epochs: 3 }],
    ["coder-diverse", { model_name_or_path: "Qwen/Qwen2.5-Coder-1.5B-Instruct", save_steps: 100, num_train_epochs: 3 }],
    [
      "limo-sft-unsloth",
      {
        lora_r: 64,
        lora_alpha: 128,
        learning_rate: 2e-4,
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 4,
      },
    ],
    [
      "gsm8k-grpo-unsloth",
      {
        lora_r: 64,
        lora_alpha: 128,
        learning_rate: 5e-6,
        gradient_accumulation_steps: 8,
        max_prompt_length: 512,
        max_completion_length: 1024,
        num_generations: 4,
      },
    ],
    [
      "ultrafeedback-dpo",
      { lora_r: 32, lora_alpha: 16, learning_rate: 5e-6, max_steps: 1000, gradient_accumulation_steps: 8, beta: 0.1 },
    ],
    ...[
      ["open-rs1", "knoveleng/open-s1", "accuracy", 4096] as const,
      ["open-rs2", "knoveleng/open-rs", "accuracy", 3584] as const,
      ["open-rs3", "knoveleng/open-rs", "cosine", 3584] as const,
    ].map(([name, dataset_name, reward, max_completion_length]): [string, Record<string, unknown>] => [
      name,
      {
        model_name_or_path: "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        use_peft: false,
        dataset_name,
        reward_funcs: ["format", reward],
        reward_weights: [1, 2],
        learning_rate: 1e-6,
        lr_scheduler_type: "cosine_with_min_lr",
        lr_scheduler_kwargs: { min_lr_rate: 0.1 },
        warmup_steps: 0.1,
        per_device_train_batch_size: 6,
        gradient_accumulation_steps: 4,
        num_generations: 6,
        max_prompt_length: 512,
        max_completion_length,
        temperature: 0.7,
        seed: 42,
      },
    ]),
  ])("%s has the published numbers", (name, numbers) => {
    expect(readPublished(name, publishedRecipe(name).method, {}).recipe).toMatchObject(numbers);
  });

  it("flags win, and a module of rewards is named by its whole path", () => {
    const { recipe } = readPublished("o5-mini-grpo", "grpo", { temperature: "0.9", lora_r: "8" });
    expect(recipe).toMatchObject({ temperature: 0.9, lora_r: 8, lora_alpha: 64 });
    expect(recipe.reward_funcs).toEqual([
      `${recipesFolder()}/o5-mini-rewards.mjs:match_format_exactly`,
      `${recipesFolder()}/o5-mini-rewards.mjs:match_format_approximately`,
      "judge",
    ]);
    expect(
      readPublished("o5-mini-grpo", "grpo", { reward_funcs: ["judge"], reward_weights: ["1"] }).recipe,
    ).toMatchObject({
      reward_funcs: ["judge"],
    });
  });

  it("an unknown name is refused with the nearest, one of the other method with its command", () => {
    expect(() => publishedRecipe("open-rs")).toThrow("There is no recipe open-rs: did you mean open-rs1?");
    expect(() => publishedRecipe("limo-sft-unslot")).toThrow("did you mean limo-sft-unsloth?");
    expect(() => publishedRecipe("zzzzzzzzzz")).toThrow(
      /There is no recipe zzzzzzzzzz: o5-mini-sft, .*ultrafeedback-dpo$/,
    );
    expect(() => readPublished("open-rs1", "sft", {})).toThrow(
      "The recipe open-rs1 is for grpo: run qwench grpo --recipe open-rs1",
    );
  });

  it("Qwen3.5-0.8B with LoRA r 16 and 1 × 2,048 tokens takes at most 2.7 GB", async () => {
    const { recipe } = readPublished("qwen3.5-chat-sft", "sft", {});
    const { peak } = await forecastOf(recipe, "sft", { shape: shapeOf(recipe), longest: 2048 });
    expect(peak).toBeLessThan(2.7e9);
    expect(formatBytes(peak)).toBe(publishedRecipe("qwen3.5-chat-sft").forecast);
  });

  it("Qwen3.5-0.8B with an image of 640 × 448 pixels in each row is forecast with its tower", async () => {
    const { longest, image, forecast } = publishedRecipe("ocr-sft-qwen3.5");
    const { recipe } = readPublished("ocr-sft-qwen3.5", "sft", {});
    const shape = shapeOf(recipe, true);
    const { peak } = await forecastOf(recipe, "sft", { shape, longest, image });
    expect(formatBytes(peak)).toBe(forecast);
    // LoRA on the tower adds its matrices, and activations of patches
    const all = await forecastOf({ ...recipe, finetune_vision_layers: true }, "sft", { shape, longest, image });
    expect(all.peak).toBeGreaterThan(peak);
    expect(all.trainable).toBeGreaterThan(16 * 12 * 768);
    expect(parseModelConfig({ ...tinyShape(shape, 630) })).toMatchObject({ vocab_size: 633, vision: { depth: 1 } });
  });

  it("are forecast for an adapter's limits, or without any", async () => {
    const { recipe } = readPublished("coder-deep", "sft", {});
    const shape = shapeOf(recipe);
    const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 };
    const { peak, tokens } = await forecastOf(recipe, "sft", { shape, longest: 1024 });
    expect(tokens).toBe(4 * 1024);
    expect(formatBytes(peak)).toBe(publishedRecipe("coder-deep").forecast);
    expect((await forecastOf(recipe, "sft", { shape, longest: 1024, limits })).peak).toBeLessThan(peak); // the MLP in parts
    const small = { ...limits, maxStorageBufferBindingSize: 2 ** 23 }; // gate_proj alone is larger
    expect(() => forecastOf(recipe, "sft", { shape, longest: 1024, limits: small })).toThrow(
      /Cannot bind .* bytes exceed maxStorageBufferBindingSize of 8388608/,
    );
  });

  it("open-rs 1 to 3 as published fit adapters of 128 MiB bindings and 2 GiB buffers", async () => {
    const limits = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 27 };
    for (const name of ["open-rs1", "open-rs2", "open-rs3"] as const) {
      const { recipe } = readPublished(name, "grpo", {});
      expect(recipe).toMatchObject({ use_peft: false, per_device_train_batch_size: 6 });
      const shape = { ...shapeOf(recipe), num_hidden_layers: 2 };
      const { trainable, byKind } = await forecastOf(recipe, "grpo", { shape, longest: 512, limits });
      expect(trainable).toBeGreaterThan(5e8); // both tables alone have 467 M
      expect(byKind.trainable! + byKind.optimizer!).toBeGreaterThanOrEqual(16 * trainable); // nothing is left out
    }
  });

  it("are reduced to two layers with as many query heads to a key head, and embeddings tied as before", () => {
    for (const { name, method } of RECIPES) {
      const shape = shapeOf(readPublished(name, method, {}).recipe);
      const [before, after] = [shape, tinyShape(shape, 630)].map((json) => parseModelConfig({ ...json }));
      const ratio = (config: typeof before) => config.num_attention_heads / config.num_key_value_heads;
      expect(ratio(after)).toBe(ratio(before));
      expect(after.tie_word_embeddings).toBe(before.tie_word_embeddings);
      expect(after).toMatchObject({ num_hidden_layers: 2, vocab_size: 630, head_dim: 16 });
    }
  });
});

describe("o5-mini's rewards", async () => {
  const { match_format_exactly, match_format_approximately } = await import(
    pathToFileURL(`${recipesFolder()}/o5-mini-rewards.mjs`).href
  );
  const said = (...texts: string[]) => texts.map((content) => [{ role: "assistant", content }]);

  it("1.5 for a fenced program behind the reasoning, with nothing behind it on its line", () => {
    const right = ["Let me think!</think>```python a=input()```", "<think>a</think>\n```python\na\n```  \n\n"];
    const wrong = [
      "```python\na\n```",
      "</think>```python```",
      "```python\na\n``` </think>",
      "</think>```python\na\n``` so",
    ];
    expect(match_format_exactly([], said(...right))).toEqual([1.5, 1.5]);
    expect(match_format_exactly([], said(...wrong))).toEqual([0, 0, 0, 0]);
    expect(match_format_exactly([], [right[0]])).toEqual([1.5]); // plain text
  });

  it("a quarter for each mark that is there once, else minus a half; the closing fence is in the opening one too", () => {
    const texts = ["", "a</think>b", "</think>```python", "</think>```python\na\n```", "</think></think>"];
    expect(match_format_approximately([], said(...texts))).toEqual([-1.5, -0.75, 0.75, 0, -1.5]);
  });
});

describe("for TRL", () => {
  it("every field that is TRL's by the table is one of TRL's list", () => {
    for (const method of methods) {
      const own = fieldsOf(method).filter(({ origin }) => origin === undefined);
      expect(own.map(({ name }) => name).filter((name) => !TRL_FIELDS[method].has(name))).toEqual([]);
    }
  });

  it.each(RECIPES.map((recipe) => [recipe.name, recipe] as const))("%s holds TRL's fields alone", (_, published) => {
    const text = trlConfig(publishedText(published), published);
    const values = parse(text, { version: "1.1" }); // as PyYAML reads it
    const names = Object.keys(values);
    expect(names.length).toBeGreaterThan(15);
    expect(names.filter((name) => !TRL_FIELDS[published.method].has(name))).toEqual([]);
    expect(text).not.toMatch(/^(?:max_seq_length|warmup_ratio|torch_dtype|max_prompt_length|system_prompt):/m);
    // TRL's parser takes a number for text that PyYAML reads as text; nested ones it does not
    expect(typeof values.learning_rate).toBe("number");
    expect(values.save_strategy ?? "steps").toBeTypeOf("string");
    const given = parse(publishedText(published));
    for (const name of [
      "lora_r",
      "learning_rate",
      "warmup_steps",
      "num_generations",
      "max_length",
      "seed",
      "reward_weights",
    ]) {
      expect(values[name], name).toEqual(values.use_peft === false && name === "lora_r" ? undefined : given[name]);
    }
    for (const entry of values.reward_funcs ?? []) expect(entry).toMatch(/^(?:accuracy_reward|qwench_rewards\.\w+)$/);
    const comments = text
      .split("\n")
      .filter((line) => line.startsWith("#"))
      .join("\n");
    for (const name of [
      "system_prompt",
      "max_prompt_length",
      "judge_model",
      "cosine_max_len",
      "adapter_name_or_path",
    ]) {
      expect(comments.includes(`- ${name}:`), name).toBe(given[name] !== undefined);
    }
  });

  it("old names become the present ones, data sets their hub ids, and text that YAML 1.1 takes for no stays text", () => {
    const source = { name: "mine", method: "sft" as const, source: "here" };
    const text = trlConfig(
      "model_name_or_path: a/b\ndataset_name: limo\nmax_seq_length: 2048\nwarmup_ratio: 0.1\ntorch_dtype: bfloat16\nsave_strategy: 'no'\nadam_epsilon: 1e-9\n",
      source,
    );
    expect(parse(text, { version: "1.1" })).toMatchObject({
      dataset_name: "GAIR/LIMO",
      max_length: 2048,
      warmup_steps: 0.1,
      dtype: "bfloat16",
      save_strategy: "no",
    });
    expect(text).toContain("adam_epsilon: 1.0e-9\n");
  });

  it("a part of one data set that is kept for evaluation becomes a mixture of one, which TRL can split", () => {
    const source = { name: "mine", method: "dpo" as const, source: "here" };
    const text = trlConfig(
      "dataset_name: a/b\ndataset_config: en\ntest_split_size: 0.1\neval_strategy: steps\nloss_type: [ipo]\n",
      source,
    );
    const values = parse(text, { version: "1.1" });
    expect(values).toMatchObject({ datasets: [{ path: "a/b", name: "en", split: "train" }], test_split_size: 0.1 });
    expect(values).toMatchObject({ loss_type: "ipo" });
    expect(Object.keys(values).filter((name) => name.startsWith("dataset_"))).toEqual([]);
    expect(() => trlConfig("loss_type: [ipo, hinge]\n", source)).toThrow("only one is possible");
  });
});
