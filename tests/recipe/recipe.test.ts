import { describe, expect, expectTypeOf, test } from "vitest";
import { RecipeError } from "../../src/errors.ts";
import { ignoredNames, oldNames, refusedNames } from "../../src/recipe/names.ts";
import {
  type FieldValue,
  fields,
  fieldsOf,
  type GrpoRecipe,
  groups,
  methods,
  namesOf,
  nearestName,
  parseRecipe,
  resolveSteps,
  type SftRecipe,
} from "../../src/recipe/recipe.ts";
import { readValue } from "../../src/recipe/values.ts";
import { formatRecipeYaml, parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { cpuTime } from "../cpu-time.ts";

const sft = (input: unknown) => parseRecipe(input, "sft");
const recipe = (input: unknown) => sft(input).recipe;

describe("the table", () => {
  test.each(methods)("declares each name once in %s: fields, old, ignored and refused names", (method) => {
    const names = [...namesOf(method), ...Object.keys(ignoredNames(method)), ...Object.keys(refusedNames(method))];
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
    for (const old of oldNames) expect(fields.map((field) => field.name)).toContain(old.field);
  });

  const each = methods.flatMap((method) => fieldsOf(method).map((field) => [method, field.name, field] as const));
  test.each(each)("%s %s: its default passes its own rule", (method, name, field) => {
    // once a method: loss_type and beta are other things in each
    expect(fields.filter((other) => other.name === name && other.methods.includes(method))).toHaveLength(1);
    expect(readValue(field, field.default)).toEqual(field.default);
    expect(groups).toContain(field.group);
    expect(field.help).toMatch(/^\S.*[.]$/);
    if (field.nullable !== true) expect(field.default).not.toBeNull();
    for (const [spelled, meant] of Object.entries(field.synonyms ?? {})) {
      expect(spelled).toBe(spelled.toLowerCase());
      expect(readValue(field, spelled)).toEqual(readValue(field, meant));
    }
  });

  test("types follow from it", () => {
    expectTypeOf<SftRecipe["lora_r"]>().toEqualTypeOf<number>();
    expectTypeOf<SftRecipe["max_length"]>().toEqualTypeOf<number | null>();
    expectTypeOf<SftRecipe["dtype"]>().toEqualTypeOf<"auto" | "float32" | "float16" | "bfloat16">();
    expectTypeOf<SftRecipe["lora_target_modules"]>().toEqualTypeOf<"all-linear" | readonly string[]>();
    expectTypeOf<SftRecipe["completion_only_loss"]>().toEqualTypeOf<boolean | null>();
    expectTypeOf<SftRecipe["resume_from_checkpoint"]>().toEqualTypeOf<boolean | string | null>();
    expectTypeOf<GrpoRecipe["reward_weights"]>().toEqualTypeOf<readonly number[] | null>();
    expectTypeOf<GrpoRecipe["reward_funcs"]>().toEqualTypeOf<readonly string[] | null>();
    expectTypeOf<GrpoRecipe["top_k"]>().toEqualTypeOf<number>();
    expectTypeOf<"packing" extends keyof GrpoRecipe ? true : false>().toEqualTypeOf<false>();
    expectTypeOf<"beta" extends keyof SftRecipe ? true : false>().toEqualTypeOf<false>();
    for (const method of methods) {
      expect(Object.keys(parseRecipe({}, method).recipe)).toEqual(fieldsOf(method).map((field) => field.name));
    }
  });
});

describe("defaults", () => {
  test("are TRL's where they need not differ", () => {
    expect(recipe({})).toMatchObject({
      learning_rate: 2e-5,
      lora_r: 16,
      lora_alpha: 32,
      lora_dropout: 0.05,
      max_length: 1024,
      packing: false,
      packing_strategy: "bfd",
      completion_only_loss: null,
      per_device_train_batch_size: 8,
      num_train_epochs: 3,
      max_steps: -1,
      logging_steps: 10,
      save_steps: 500,
      gradient_checkpointing: true,
      lr_scheduler_type: "linear",
      max_grad_norm: 1,
      adam_beta2: 0.999,
      adam_epsilon: 1e-8,
      seed: 42,
    });
    expect(sft({}).notes).toEqual([]);
  });

  test("are not shared between recipes", () => {
    const first = recipe({ lora_target_modules: ["q_proj"] });
    (first.lora_target_modules as string[]).push("k_proj");
    expect(recipe({ lora_target_modules: ["q_proj"] }).lora_target_modules).toEqual(["q_proj"]);
  });
});

describe("values", () => {
  test.each([
    ["learning_rate", "5e-6", 5e-6],
    ["learning_rate", 1e-4, 1e-4],
    ["lora_r", "8", 8],
    ["packing", "True", true],
    ["packing", "no", false],
    ["eval_strategy", false, "no"],
    ["max_length", null, null],
    ["max_length", "None", null],
    ["max_steps", -1, -1],
    ["warmup_steps", 0.1, 0.1],
    ["optim", "adamw_torch_fused", "adamw_torch"],
    ["optim", "adamw_bnb_8bit", "adamw_8bit"],
    ["lora_target_modules", "q_proj, v_proj", ["q_proj", "v_proj"]],
    ["lora_target_modules", ["all-linear"], "all-linear"],
    ["resume_from_checkpoint", "true", true],
    ["resume_from_checkpoint", "out/checkpoint-5", "out/checkpoint-5"],
    ["model_name_or_path", 2024, "2024"],
  ])("%s takes %j", (name, given, read) => {
    expect((recipe({ [name]: given }) as Record<string, unknown>)[name]).toEqual(read);
  });

  test.each([
    [{ lora_r: 0 }, "lora_r must be an integer of at least 1, got 0"],
    [{ lora_r: 1.5 }, "lora_r must be an integer of at least 1, got 1.5"],
    [{ lora_r: "eight" }, 'lora_r must be an integer of at least 1, got "eight"'],
    [{ lora_r: null }, "lora_r must be an integer of at least 1, got null"],
    [{ lora_r: true }, "lora_r must be an integer of at least 1, got true"],
    [{ learning_rate: Number.NaN }, "learning_rate must be a number of at least 0, got NaN"],
    [{ learning_rate: Number.POSITIVE_INFINITY }, "learning_rate must be a number of at least 0, got Infinity"],
    [{ learning_rate: -1e-4 }, "learning_rate must be a number of at least 0, got -0.0001"],
    [{ learning_rate: "0x10" }, 'learning_rate must be a number of at least 0, got "0x10"'],
    [{ learning_rate: "" }, 'learning_rate must be a number of at least 0, got ""'],
    [{ adam_beta1: 1 }, "adam_beta1 must be a number of at least 0 and below 1, got 1"],
    [{ max_steps: 0 }, "max_steps must be an integer of at least 1 or -1, got 0"],
    [{ warmup_steps: 2.5 }, "warmup_steps must be a whole number, or a ratio below 1, of at least 0, got 2.5"],
    [{ lr_scheduler_type: "cosin" }, "lr_scheduler_type must be one of linear, cosine, "],
    [{ lora_target_modules: [] }, "lora_target_modules must be a list of names or all-linear, got []"],
    [{ lora_target_modules: ["q_proj", "q_proj"] }, 'got ["q_proj","q_proj"]: "q_proj" is there twice'],
    [{ lora_target_modules: ["all-linear", "q_proj"] }, "lora_target_modules must be a list of names or all-linear"],
    [{ packing: 2 }, "packing must be true or false, got 2"],
    [{ output_dir: "" }, 'output_dir must be text that is not empty, got ""'],
    [{ packing_strategy: "ffd" }, "packing_strategy must be one of bfd, bfd_split, wrapped"],
    [{ save_strategy: "best" }, "load_best_model_at_end"],
    [{ seed: 2 ** 40 }, "seed must be an integer of at least 0 and at most 4294967295"],
  ])("%j is refused", (input, message) => {
    expect(() => recipe(input)).toThrow(RecipeError);
    expect(() => recipe(input)).toThrow(message);
  });

  test.each([[null], [[]], ["lora_r: 1"], [7]])("%j is not a recipe", (input) => {
    expect(() => recipe(input)).toThrow("A recipe must be a mapping of names to values");
  });
});

describe("names", () => {
  test.each([
    ["lora_rank", "lora_r"],
    ["learning_rat", "learning_rate"],
    ["lr_scheduler", "lr_scheduler_type"],
    ["batch_size", "per_device_train_batch_size"],
    ["epochs", "num_train_epochs"],
    ["max-lenght", "max_length"],
    ["LEARNING_RATE", "learning_rate"],
  ])("%s: did you mean %s?", (wrong, right) => {
    expect(() => recipe({ [wrong]: 1 })).toThrow(`Unknown recipe key "${wrong}": did you mean ${right}?`);
  });

  test("that are near nothing, hostile or huge get no suggestion and no time", () => {
    expect(nearestName("zzzzzzzz", ["lora_r", "packing"])).toBeNull();
    const spent = cpuTime();
    expect(() => recipe({ [`a${"b".repeat(1e6)}`]: 1 })).toThrow(/^Unknown recipe key "abbb.{1,80}$/);
    expect(spent()).toBeLessThan(2);
    for (const name of ["__proto__", "constructor", "toString"]) {
      expect(() => recipe(JSON.parse(`{"${name}": 1}`))).toThrow(`Unknown recipe key "${name}"`);
    }
  });

  test.each([
    ["warmup_ratio", 0.1, "warmup_steps", 0.1],
    ["max_seq_length", 512, "max_length", 512],
    ["max_seq_length", null, "max_length", null],
    ["torch_dtype", "bfloat16", "dtype", "bfloat16"],
    ["group_by_length", true, "train_sampling_strategy", "group_by_length"],
    ["evaluation_strategy", "no", "eval_strategy", "no"],
  ])("%s: %j is read as %s, with a note", (old, value, name, read) => {
    const parsed = sft({ [old]: value });
    expect((parsed.recipe as Record<string, unknown>)[name]).toEqual(read);
    expect(parsed.notes).toEqual([`${old} is an old name of ${name}`]);
  });

  test("old names without an effect give no note, and two names with two values are refused", () => {
    expect(sft({ warmup_ratio: 0, warmup_steps: 5, torch_dtype: null }).notes).toEqual([]);
    expect(recipe({ warmup_ratio: 0, warmup_steps: 5 }).warmup_steps).toBe(5);
    expect(() => recipe({ max_length: 1024, max_seq_length: 512 })).toThrow(
      "max_length and max_seq_length name the same field but have different values: 1024 and 512",
    );
    expect(() => recipe({ warmup_ratio: 1.5 })).toThrow("warmup_ratio must be a number of at least 0 and below 1");
  });

  test("TRL's options without an effect give a note; unsupported ones are refused with the reason", () => {
    const { notes } = sft({ bf16: true, attn_implementation: "sdpa", report_to: "none", fp16: false, deepspeed: null });
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/^attn_implementation is ignored: /);
    expect(() => recipe({ deepspeed: "zero3.json" })).toThrow(
      'deepspeed cannot be used (got "zero3.json"): Qwench trains on one adapter in one process',
    );
    expect(() => recipe({ loss_type: "orpo" })).toThrow('loss_type must be one of chunked_nll, nll, dft, got "orpo"');
    expect(sft({ loss_type: "nll" }).notes).toEqual([]);
    expect(sft({ loss_type: "dft", label_smoothing_factor: 0.1 }).notes).toEqual([
      "label_smoothing_factor is ignored: dft has no smoothed targets",
    ]);
    expect(sft({ gradient_checkpointing: false }).notes).toEqual([]);
  });
});

describe("rules that span fields", () => {
  test("what goes by evaluations needs some", () => {
    expect(() => recipe({ eval_on_start: true })).toThrow(
      "eval_on_start true needs eval_strategy steps or epoch, got no",
    );
    expect(() => recipe({ early_stopping_patience: 3 })).toThrow("early_stopping_patience 3 needs eval_strategy");
    expect(sft({ early_stopping_patience: 3, eval_strategy: "epoch" }).notes[0]).toMatch(/ends with its last weights/);
    expect(sft({ early_stopping_threshold: 0.1 }).notes).toEqual([
      "early_stopping_threshold is ignored: early_stopping_patience is null",
    ]);
  });

  test("schedules take their own arguments only", () => {
    const kwargs = { lr_scheduler_type: "cosine_with_min_lr", lr_scheduler_kwargs: '{"min_lr_rate": 0.1}' };
    expect(recipe(kwargs).lr_scheduler_kwargs).toEqual({ min_lr_rate: 0.1 });
    expect(() => recipe({ lr_scheduler_type: "cosine_with_min_lr" })).toThrow("needs either min_lr or min_lr_rate");
    expect(() => recipe({ ...kwargs, lr_scheduler_type: "linear" })).toThrow("of linear takes none");
    expect(() => recipe({ ...kwargs, lr_scheduler_kwargs: { min_lr_rate: 2 } })).toThrow("from 0 to 1, got 2");
    expect(() => recipe({ ...kwargs, lr_scheduler_kwargs: { min_lr: Number.NaN } })).toThrow("got NaN");
  });

  test("the best model needs evaluations that leave checkpoints", () => {
    const best = { load_best_model_at_end: true, eval_strategy: "steps", save_strategy: "steps" };
    expect(() => recipe({ load_best_model_at_end: true })).toThrow("eval_strategy and save_strategy to be the same");
    expect(() => recipe({ ...best, eval_steps: 7, save_steps: 10 })).toThrow("a multiple of eval_steps, got 10 and 7");
    expect(recipe({ ...best, eval_steps: 5, save_steps: 10 }).save_steps).toBe(10);
    expect(recipe({ ...best, eval_steps: 0.1, save_steps: 0.3 }).save_steps).toBe(0.3);
  });

  test("packing needs a length; an adapter needs PEFT", () => {
    expect(() => recipe({ packing: true, max_length: null })).toThrow("packing needs max_length");
    expect(() => recipe({ use_peft: false, adapter_name_or_path: "a" })).toThrow("needs use_peft: true");
  });

  test("ratios become steps as transformers rounds them", () => {
    expect([resolveSteps(0.1, 25), resolveSteps(3, 25), resolveSteps(0, 25)]).toEqual([3, 3, 0]);
  });
});

describe("YAML", () => {
  test("errors name the file and the line", () => {
    const read = (text: string) => () => parseRecipeYaml(text, "r.yaml", "sft");
    expect(read("seed: 1\nlora_r: 0\n")).toThrow("r.yaml:2: lora_r must be an integer of at least 1, got 0");
    expect(read("\n\nlora_rank: 8\n")).toThrow('r.yaml:3: Unknown recipe key "lora_rank": did you mean lora_r?');
    expect(read("seed: 1\nseed: 2\n")).toThrow(/^Cannot read r.yaml:2:1 as YAML: .*unique/);
    expect(read("a: [1\n")).toThrow(/^Cannot read r.yaml:\d+:\d+ as YAML: /);
    expect(read("- lora_r\n")).toThrow("r.yaml: A recipe must be a mapping");
    expect(read("")().recipe).toEqual(recipe({}));
  });

  test("an alias bomb is refused", () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `l${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`).join(",")}]`,
    );
    expect(() => parseRecipeYaml(`l0: &l0 x\n${levels.join("\n")}\n`, "b.yaml", "sft")).toThrow(RecipeError);
  });

  test("flags win over the file, under either name", () => {
    const parsed = parseRecipeYaml("max_seq_length: 512\nlearning_rate: 1e-4\n", "r.yaml", "sft", {
      max_length: "256",
      learning_rate: "5e-6",
    });
    expect(parsed.recipe).toMatchObject({ max_length: 256, learning_rate: 5e-6 });
    expect(parsed.notes).toEqual(["max_seq_length is an old name of max_length"]);
  });

  test("a written recipe reads back the same, and marks defaults that differ from TRL's", () => {
    const input: Record<string, FieldValue> = {
      model_name_or_path: "Qwen/Qwen2.5-0.5B",
      lora_target_modules: ["q_proj", "v_proj"],
      system_prompt: "Say: # yes\n- no",
      lr_scheduler_type: "cosine_with_min_lr",
      lr_scheduler_kwargs: { min_lr_rate: 0.1 },
      eval_strategy: "no",
      adam_epsilon: 1e-7,
    };
    const before = recipe(input);
    const short = formatRecipeYaml(before, "sft");
    expect(parseRecipeYaml(short, "short", "sft").recipe).toEqual(before);
    expect(parseRecipeYaml(formatRecipeYaml(before, "sft", true), "full", "sft").recipe).toEqual(before);
    expect(short).toContain("use_peft: true");
    expect(short).not.toContain("lora_r:");
    expect(formatRecipeYaml(before, "sft", true)).toContain("lora_r: 16");
    // a recipe in TRL's words only must not gain a name that TRL refuses
    const plain = formatRecipeYaml(recipe({}), "sft");
    for (const field of fields) if (field.origin) expect(plain).not.toContain(`${field.name}:`);
  });
});

test("reads a YAML of 30,000 keys, and refuses a deep one, at once", () => {
  const keys = Array.from({ length: 30_000 }, (_, i) => `key${i}: 1`).join("\n");
  const spent = cpuTime();
  expect(() => parseRecipeYaml(keys, "r.yaml", "sft")).toThrow("r.yaml:1: Unknown recipe");
  const deep = `dataset_options: ${"[".repeat(3000)}${"]".repeat(3000)}`;
  expect(() => parseRecipeYaml(deep, "r.yaml", "sft")).toThrow(RecipeError);
  expect(() => parseRecipeYaml(deep, "r.yaml", "sft")).toThrow("nested too deep");
  expect(() => parseRecipeYaml(`a: ${"x".repeat(1_000_001)}`, "r.yaml", "sft")).toThrow("at most 1000000 characters");
  expect(spent()).toBeLessThan(10);
});
