import { describe, expect, test } from "vitest";
import { type CliFlag, parseArgs, UsageError } from "../../src/cli/args.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";

const flags: CliFlag[] = [
  { name: "quiet", short: "q", type: "boolean", help: "Say less." },
  { name: "json", type: "string", value: "FILE", help: "Write there." },
  { name: "stop", type: "list", help: "End there." },
];
const args = (...argv: string[]) => parseArgs(argv, { method: "sft", flags });

describe("recipe flags", () => {
  test.each([
    [["--learning_rate", "1e-4"], { learning_rate: "1e-4" }],
    [["--learning_rate=1e-4"], { learning_rate: "1e-4" }],
    [["--learning-rate", "1e-4"], { learning_rate: "1e-4" }],
    [["--max_steps", "-1"], { max_steps: "-1" }],
    [["--packing"], { packing: true }],
    [["--packing", "false"], { packing: "false" }],
    [["--packing=no"], { packing: "no" }],
    [["--no_packing"], { packing: false }],
    [["--no-use-peft"], { use_peft: false }],
    [
      ["--lora_target_modules", "q_proj", "v_proj", "--packing"],
      { lora_target_modules: ["q_proj", "v_proj"], packing: true },
    ],
    [["--lora_target_modules", "q_proj,v_proj"], { lora_target_modules: ["q_proj", "v_proj"] }],
    [["--lr_scheduler_kwargs", '{"min_lr_rate": 0.1}'], { lr_scheduler_kwargs: '{"min_lr_rate": 0.1}' }],
    [["--resume_from_checkpoint"], { resume_from_checkpoint: true }],
    [["--resume_from_checkpoint", "out/checkpoint-5"], { resume_from_checkpoint: "out/checkpoint-5" }],
    [["--warmup_ratio", "0.1"], { warmup_ratio: "0.1" }],
    [["--bf16", "true"], { bf16: "true" }],
    [["--bf16"], { bf16: true }],
    [["--deepspeed", "z.json"], { deepspeed: "z.json" }],
    [["--system_prompt=--terse"], { system_prompt: "--terse" }],
    [["--system_prompt", ""], { system_prompt: "" }],
    [["--seed", "1", "--seed", "2"], { seed: "2" }],
  ])("%j", (argv, overrides) => {
    expect(args(...argv)).toEqual({ positional: [], overrides, flags: {} });
  });

  test("do not change the recipe's file", () => {
    for (const argv of [
      ["--packing", "r.yaml"],
      ["--lora_target_modules", "q_proj", "v_proj", "r.yaml"],
      ["--lora_target_modules", "q_proj,v_proj", "r.yaml"],
      ["--resume_from_checkpoint", "r.yaml"],
      ["--bf16", "r.yaml"],
      ["--config", "r.yaml"],
      ["--config=r.yaml", "--quiet"],
      ["--", "r.yaml"],
    ]) {
      expect(args(...argv).positional).toEqual(["r.yaml"]);
    }
    expect(args("--", "--packing").positional).toEqual(["--packing"]);
  });

  test("of GRPO: lists of names and of numbers, and the names with another meaning in SFT", () => {
    const read = (...argv: string[]) => parseArgs(argv, { method: "grpo", flags });
    expect(
      read("--reward_funcs", "xmlcount_reward_func", "./my.ts:f", "--reward_weights", "1", "-0.5", "r.yaml"),
    ).toEqual({
      positional: ["r.yaml"],
      overrides: { reward_funcs: ["xmlcount_reward_func", "./my.ts:f"], reward_weights: ["1", "-0.5"] },
      flags: {},
    });
    const { overrides } = read(
      "--reward_funcs=a,b",
      "--reward_weights=1,.5",
      "--scale_rewards",
      "false",
      "--top_k",
      "-1",
      "--beta=0.04",
      "--loss_type",
      "grpo",
      "--max_prompt_length",
      "256",
      "--no_log_completions",
      "--use_vllm",
      "--vllm_mode",
      "colocate",
    );
    const { recipe, notes } = parseRecipe(overrides, "grpo");
    expect(recipe).toMatchObject({
      reward_funcs: ["a", "b"],
      reward_weights: [1, 0.5],
      scale_rewards: "none",
      top_k: 0,
      beta: 0.04,
      loss_type: "grpo",
      max_prompt_length: 256,
      log_completions: false,
    });
    expect(notes).toHaveLength(2);
    expect(parseRecipe(read("--reward_weights", "null").overrides, "grpo").recipe.reward_weights).toBeNull();
    expect(() => read("--packing")).toThrow("Unknown flag --packing: it belongs to sft, not to grpo");
    expect(() => read("--num_generation", "4")).toThrow("did you mean --num_generations?");
    expect(() => read("--quite")).toThrow("did you mean --quiet?");
  });

  test("give parseRecipe's input", () => {
    const { overrides } = args(
      "--lora_r",
      "8",
      "--packing",
      "--learning_rate",
      "5e-6",
      "--lora_target_modules",
      "all-linear",
    );
    expect(parseRecipe(overrides, "sft").recipe).toMatchObject({
      lora_r: 8,
      packing: true,
      learning_rate: 5e-6,
      lora_target_modules: "all-linear",
    });
  });
});

describe("the command's own flags", () => {
  test("are separated from the recipe's", () => {
    expect(args("-q", "--json", "out.json", "r.yaml")).toEqual({
      positional: ["r.yaml"],
      overrides: {},
      flags: { quiet: true, json: "out.json" },
    });
    expect(args("--quiet=false").flags).toEqual({ quiet: false });
    expect(args("-h").flags).toEqual({ help: true });
    expect(parseArgs(["--help"], {}).flags).toEqual({ help: true });
    expect(args("--stop", "a, b", "x", "--stop=--").flags).toEqual({ stop: ["a, b", "--"] });
  });
});

describe("usage errors", () => {
  test.each([
    [["--lora_rank", "8"], "Unknown flag --lora_rank: did you mean --lora_r?"],
    [["--learning-rat=1"], "Unknown flag --learning-rat: did you mean --learning_rate?"],
    [["--num_generations", "8"], "Unknown flag --num_generations: it belongs to grpo, not to sft"],
    [["--quite"], "Unknown flag --quite: did you mean --quiet?"],
    [["-x"], "Unknown flag -x"],
    [["--zzzzzzzzzz"], /^Unknown flag --zzzzzzzzzz$/],
    [["--__proto__", "1"], "Unknown flag --__proto__"],
    [["--constructor", "1"], "Unknown flag --constructor"],
    [["--learning_rate"], "--learning_rate needs a value, got the end of the line"],
    [["--learning_rate", "--packing"], "--learning_rate needs a value, got --packing"],
    [["--json"], "--json needs a value"],
    [["--config"], "--config needs a value"],
  ])("%j", (argv, message) => {
    expect(() => args(...argv)).toThrow(UsageError);
    expect(() => args(...argv)).toThrow(message);
  });

  test("recipe flags are unknown to a command without a recipe", () => {
    expect(() => parseArgs(["--lora_r", "8"], {})).toThrow("Unknown flag --lora_r");
  });
});
