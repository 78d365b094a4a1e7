import { describe, expect, it } from "vitest";
import { targetsOf } from "../../src/model/adapters/targets.ts";
import { publishedShape } from "../../src/model/architectures/published.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { loraOf } from "../../src/session/open.ts";

const config = parseModelConfig({ ...publishedShape("Qwen2.5-0.5B") }, "config.json");
const recipe = (values: Record<string, unknown>) => parseRecipe(values, "sft").recipe;
const targets = (values: Record<string, unknown>) => targetsOf(config, loraOf(config, recipe(values)));

describe("where LoRA is, and with which ranks", () => {
  it("exclude_modules takes names, ends of paths and one regular expression", () => {
    const left = targets({ lora_target_modules: ["q_proj", "v_proj"], exclude_modules: ["layers.3.self_attn.q_proj"] });
    expect(left).toHaveLength(47);
    const some = targets({ exclude_modules: ".*\\.layers\\.([0-9]|1\\d)\\..*" });
    expect(new Set(some.map(({ layer }) => layer))).toEqual(new Set([20, 21, 22, 23]));
  });

  it("layers_to_transform and patterns count as in PEFT", () => {
    const made = targets({
      lora_r: 8,
      lora_alpha: 16,
      layers_to_transform: [1, 2],
      rank_pattern: { q_proj: 32, "layers.2.mlp.*": 4 },
      alpha_pattern: { "self_attn.q_proj": 64 },
    });
    expect(made).toHaveLength(14);
    const of = (end: string) => made.find(({ path }) => path.endsWith(end))!;
    expect(of("layers.1.self_attn.q_proj")).toMatchObject({ r: 32, scale: 2 });
    expect(of("layers.2.mlp.up_proj")).toMatchObject({ r: 4, scale: 4 });
    expect(of("layers.1.mlp.up_proj")).toMatchObject({ r: 8, scale: 2 });
  });

  it("lora_target_modules may be one regular expression, with commas and spaces of its own", () => {
    const yaml = "lora_target_modules: 'model\\.layers\\.\\d{1,2}\\.self_attn\\.(q|v)_proj'\n";
    const { recipe: read } = parseRecipeYaml(yaml, "r.yaml", "sft");
    expect(targetsOf(config, loraOf(config, read))).toHaveLength(48);
  });

  it("text and flags spell the same", () => {
    const flags = { rank_pattern: '{"q_proj": 4}', layers_to_transform: "0 1", init_lora_weights: "gaussian" };
    expect(recipe(flags)).toMatchObject({
      rank_pattern: { q_proj: 4 },
      layers_to_transform: [0, 1],
      init_lora_weights: "gaussian",
    });
    expect(recipe({ init_lora_weights: false }).init_lora_weights).toBe("false");
    expect(recipe({ init_lora_weights: true }).init_lora_weights).toBe("true");
  });
});

it("trainable_token_indices is a list, or lists by the name of a table, in YAML and in flags", () => {
  const of = (value: unknown) => recipe({ trainable_token_indices: value }).trainable_token_indices;
  expect(of("5 7")).toEqual([5, 7]);
  expect(of(5)).toEqual([5]);
  expect(of('{"embed_tokens": [5], "lm_head": [7, 9]}')).toEqual({ embed_tokens: [5], lm_head: [7, 9] });
  expect(of({ lm_head: "7, 9" })).toEqual({ lm_head: [7, 9] });
  expect(of(null)).toBeNull();
  const made = loraOf(config, recipe({ trainable_token_indices: [151_664] }));
  expect(made.trainable_token_indices).toEqual([151_664]);
});

it.each<[Record<string, unknown>, string]>([
  [{ trainable_token_indices: [1, 1] }, "must hold different token ids from 0, got [1,1]"],
  [{ trainable_token_indices: [-1] }, "must hold different token ids from 0, got [-1]"],
  [{ trainable_token_indices: { lm_head: [] } }, "or a mapping of names to such lists or null, got"],
  [{ trainable_token_indices: "new" }, "must be a list of numbers"],
  [{ rank_pattern: { q_proj: 1.5 } }, "rank_pattern must map names to whole numbers of at least 1, got 1.5"],
  [{ alpha_pattern: { q_proj: 0 } }, "alpha_pattern must map names to numbers above 0, got 0"],
  [{ layers_to_transform: [-1] }, "layers_to_transform must hold layer numbers from 0, got -1"],
  [{ init_lora_weights: "orthogonal", lora_r: 7 }, "needs even ranks, got 7"],
  [{ init_lora_weights: "olora" }, "it changes the weights of the base"],
  [{ init_lora_weights: "pissa_niter_16" }, "pissa computes the exact singular values"],
  [{ init_lora_weights: "pissa", load_in_4bit: true }, "pissa needs a base in float, got load_in_4bit"],
  [{ lora_bias: true }, "lora_bias cannot be used"],
])("%j is refused", (values, said) => {
  expect(() => recipe(values)).toThrow(said);
});

it("settings that leave no layer, or contradict each other, are refused", () => {
  expect(() => targets({ layers_to_transform: [24] })).toThrow("Cannot apply LoRA to any layer");
  expect(() => targets({ exclude_modules: [".*"] })).toThrow("Cannot apply LoRA to any layer");
  const tokens = (trainable_token_indices: unknown, more = {}) => targets({ trainable_token_indices, ...more });
  expect(() => tokens({ norm: [1] })).toThrow("Qwench trains rows of embed_tokens and lm_head, and of no other module");
  expect(() => tokens([200_000])).toThrow("token 200000 is outside the model's vocabulary of 151936");
  expect(() => tokens([1], { lora_modules_to_save: "embed_tokens" })).toThrow(
    "modules_to_save trains this table whole",
  );
  expect(() => tokens([1], { lora_modules_to_save: "lm_head" })).toThrow("the model ties the two");
  expect(() => tokens({ embed_tokens: [1], "model.embed_tokens": [2] })).toThrow("two lists of tokens");
  expect(() => targets({ lora_target_modules: [".*q_proj"], layers_to_transform: [1] })).toThrow(
    "Cannot use layers_to_transform with lora_target_modules",
  );
});
