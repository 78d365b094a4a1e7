import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { contents } from "../train/fixtures.ts";
import { REFUSAL_SECONDS, run } from "./e2e.ts";
import { at, completionsOf, grpoArgs, learnt, mine, modelAt, rowsFile, useGrpoInputs } from "./grpo-e2e.ts";

useGrpoInputs();

/** Runs a command that must fail, with the order to replace an earlier run, which must stay byte for byte. */
async function refused(message: RegExp, rewards: readonly string[], ...more: string[]): Promise<string> {
  const before = await contents(nodeFolder(at("earlier")));
  const argv = grpoArgs(at("earlier"), rewards, "--overwrite_output_dir", "true", ...more);
  const { code, said, seconds } = await run(...argv);
  expect(said).toMatch(message);
  expect(said).not.toContain("UNCAUGHT");
  expect(said).not.toMatch(/\n\s+at .*\.[mt][js]s?:\d+/); // no stack
  expect(code).toBe(/^RecipeError: /m.test(said) ? 2 : 1);
  expect(seconds).toBeLessThan(REFUSAL_SECONDS);
  expect(await contents(nodeFolder(at("earlier")))).toEqual(before);
  return said;
}

let said: string;

beforeAll(async () => {
  const earlier = await run(...grpoArgs(at("earlier"), [...mine("letters", "even"), "int_reward_func"]));
  said = earlier.said;
  expect(earlier.code, said).toBe(0);
});

describe("a run", () => {
  it("with a user's module: prints its progress, and writes adapter, checkpoints, metrics, completions and report", async () => {
    expect(said).toContain("24 prompts; 4 steps; generation batches of 2 prompts × 4 completions of at most 6 tokens");
    expect(said).toMatch(/^step 1\/4 {2}reward [\d.]+ {2,}letters [\d.]+ {2,}.*loss \S+ {2,}.*length [\d.]+/m);
    expect(said).toMatch(/Saved .*checkpoint-2/);
    expect(said).toMatch(/Done: step 4/);
    expect(said).toContain(`Talk to it: qwench chat --adapter ${at("earlier")}`);
    const files = Object.keys(await contents(nodeFolder(at("earlier"))));
    for (const name of ["adapter_model.safetensors", "checkpoint-4/trainer_state.json", "report.html"])
      expect(files).toContain(name);
    expect(files.filter((name) => name.startsWith("completions/"))).toEqual(
      [1, 2, 3, 4].map((step) => `completions/completions_0000${step}.jsonl`),
    );
  });

  it("logs by TRL's names", () => {
    const logs = learnt(at("earlier")).map((line) => JSON.parse(line));
    expect(logs.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    for (const name of [
      ...[
        "loss",
        "grad_norm",
        "learning_rate",
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "entropy",
        "num_tokens",
      ],
      ...["rewards/letters/mean", "rewards/letters/std", "rewards/even/mean", "rewards/int_reward_func/mean"],
      ...["completions/mean_length", "completions/clipped_ratio", "clip_ratio/region_mean", "epoch"],
    ])
      expect(logs[0][name], name).toEqual(expect.any(Number));
  });

  it("keeps each completion with its rewards, whose sum's spread is the advantage", () => {
    const text = readFileSync(at("earlier", "completions", "completions_00003.jsonl"), "utf8");
    const rows = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows).toHaveLength(8);
    for (const group of [rows.slice(0, 4), rows.slice(4)]) {
      expect(new Set(group.map(({ prompt }) => prompt)).size).toBe(1);
      expect(group[0].prompt).toMatch(/^<\|im_start\|>user\n\d+\+1=<\|im_end\|>\n<\|im_start\|>assistant\n$/);
      const totals = group.map(({ letters, even, int_reward_func }) => letters + (even ?? 0) + int_reward_func);
      const mean = totals.reduce((a, b) => a + b) / 4;
      const std = Math.sqrt(totals.reduce((sum, total) => sum + (total - mean) ** 2, 0) / 3);
      group.forEach(({ advantage, completion, letters, length, finish_reason, step }, i) => {
        expect(advantage).toBeCloseTo((totals[i] - mean) / (std + 1e-4), 4);
        expect(letters).toBe((completion.match(/[a-z]/g) ?? []).length);
        expect(length).toBeLessThanOrEqual(6);
        expect(["stop", "length"]).toContain(finish_reason);
        expect(step).toBe(3);
      });
    }
    expect(rows.some(({ even }) => even === null)).toBe(true);
  });

  it("shows rewards and completions in its report", () => {
    const html = readFileSync(at("earlier", "report.html"), "utf8");
    expect(html).toMatch(/GRPO, finished /);
    for (const title of ["Reward", "Reward by function", "Completion length"])
      expect(html).toContain(`<strong>${title}</strong>`);
    expect(html.match(/<h3>Step \d/g)).toEqual(["<h3>Step 1", "<h3>Step 2", "<h3>Step 4"]);
    expect(html).toContain("reward_funcs");
  });

  it("with log_completions prints some of them; with equal rewards warns that the model learns nothing", async () => {
    const more = ["--log_completions", "--num_completions_to_print", "3", "--max_steps", "2"];
    const { code, said } = await run(...grpoArgs(mkdtempSync(at("flat-")), mine("flat"), ...more));
    expect(code, said).toBe(0);
    expect(said).toMatch(/^completion +flat +advantage +tokens$/m);
    expect(said.match(/ 0\.5 +0 +6( cut)?$/gm)).toHaveLength(6);
    expect(said.match(/warning: Step 1: all completions of each prompt got the same reward/g)).toHaveLength(1);
  });

  it("resumes from a checkpoint with the same numbers; completions of repeated steps occur once", async () => {
    const output = mkdtempSync(at("resumed-"));
    const rewards = [...mine("letters", "even"), "int_reward_func"];
    expect((await run(...grpoArgs(output, rewards))).code).toBe(0);
    const again = await run(...grpoArgs(output, rewards, "--resume_from_checkpoint", join(output, "checkpoint-2")));
    expect(again.code, again.said).toBe(0);
    expect(again.said).toContain("Resumed after step 2");
    expect(learnt(output)).toEqual(learnt(at("earlier")));
    expect(completionsOf(output)).toBe(completionsOf(at("earlier")));
  });

  it("replaces an earlier run only with a flag, including completions", async () => {
    const output = mkdtempSync(at("twice-"));
    expect((await run(...grpoArgs(output, mine("letters")))).code).toBe(0);
    const untold = await run(...grpoArgs(output, mine("letters"), "--max_steps", "1"));
    expect(untold.code).toBe(1);
    expect(untold.said).toMatch(/QwenchError: Cannot start a run in .* it holds checkpoint-2 of another run/);
    const told = await run(...grpoArgs(output, mine("letters"), "--max_steps", "1", "--overwrite_output_dir", "true"));
    expect(told.code, told.said).toBe(0);
    expect(readdirSync(join(output, "completions"))).toEqual(["completions_00001.jsonl"]);
    expect(await nodeFolder(output).folders()).toEqual(["checkpoint-1", "completions"]);
  });
});

describe("failing rewards", () => {
  it.each<[string, string, RegExp]>([
    [
      "of the wrong length",
      "short",
      /TrainingError: Reward short returned 3 rewards for 8 completions: it must return one for each/,
    ],
    [
      "not a number",
      "nan",
      /TrainingError: Reward nan returned NaN for row 3 of 8 \(prompt "\d+\+1=", completion ".*"\)/,
    ],
    ["that never settle", "never", /TrainingError: Reward never has not returned for 8 completions within 1000 ms/],
    [
      "that compute for ever",
      "endless",
      /TrainingError: Reward endless has not returned for 8 completions within 1000 ms/,
    ],
    [
      "that throw, with the row",
      "throws",
      /TrainingError: Reward throws failed on row 1 of 8 \(prompt "\d+\+1=", completion ".*"\): RangeError: no grade for #### \d/,
    ],
  ])("%s", async (_, name, message) => {
    // the others end by themselves: a busy machine can need more than a second to start their thread
    const waits = message.source.includes("within");
    await refused(message, mine(name), ...(waits ? ["--reward_timeout", "1"] : []));
  });

  it("in a later step: a checkpoint is saved first, and can be resumed", async () => {
    const output = mkdtempSync(at("later-"));
    const failed = await run(...grpoArgs(output, mine("later"), "--save_steps", "100"));
    expect(failed.code).toBe(1);
    expect(failed.said).toMatch(/Saved .*checkpoint-2/);
    expect(failed.said).toMatch(/TrainingError: Reward later failed on .*: Error: the judge is out/);
    expect(readFileSync(join(output, "report.html"), "utf8")).toContain("GRPO, failed");
    const healed = await run(...grpoArgs(output, mine("letters"), "--resume_from_checkpoint", "true"));
    expect(healed.code, healed.said).toBe(0);
    expect(healed.said).toContain("Resumed after step 2");
  });

  it.each<[string, (mine: string) => string, RegExp]>([
    [
      "an unknown name, with the nearest",
      () => "int_reward_fun",
      /NotFoundError: There is no reward function int_reward_fun: did you mean int_reward_func\?/,
    ],
    [
      "a module that is not there",
      (m) => m.replace("mine", "yours"),
      /NotFoundError: Cannot load the rewards in .*yours\.mjs: there is no such file/,
    ],
    [
      "an export that is not there",
      (m) => `${m}:lettres`,
      /NotFoundError: .*mine\.mjs has no lettres; it exports endless, even, .*letters/,
    ],
    [
      "a module of many functions",
      (m) => m,
      /NotFoundError: .*has no default export; .*Name one, such as .*mine\.mjs:endless/,
    ],
    ["an export that is no function", (m) => `${m}:notes`, /RecipeError: .*notes is of type string, not a function/],
  ])("%s", async (_, entry, message) => {
    await refused(message, [entry(at("code", "mine.mjs"))]);
  });

  it("none at all", async () => {
    const argv = grpoArgs(at("earlier"), ["x"], "--overwrite_output_dir", "true").filter(
      (arg) => arg !== "--reward_funcs" && arg !== "x",
    );
    const { code, said } = await run(...argv);
    expect(code).toBe(2);
    expect(said).toMatch(
      /RecipeError: reward_funcs is missing: name functions .*correctness_reward_func.*paths of modules/,
    );
  });
});

describe("bad input", () => {
  it("generations that do not divide the batch", async () => {
    await refused(
      /RecipeError: per_device_train_batch_size 8 × .* = 8 completions .* not a multiple of num_generations 3/,
      mine("letters"),
      "--num_generations",
      "3",
    );
  });

  it("no prompt left by max_prompt_length; none at all; fewer than a generation batch takes", async () => {
    await refused(/DataError: .*max_prompt_length 3/, mine("letters"), "--max_prompt_length", "3");
    await refused(/DataError: The data set has no rows/, mine("letters"), "--dataset_name", rowsFile([]));
    await refused(
      /DataError: Cannot fill a generation batch: it needs 2 prompts .* there are 1/,
      mine("letters"),
      ...["--dataset_name", rowsFile([{ prompt: "1+1=" }])],
    );
  });

  it("prompts left out are counted", async () => {
    const rows = rowsFile([...Array(6).fill({ prompt: "1+1=" }), { prompt: "1".repeat(400) }]);
    const more = ["--dataset_name", rows, "--max_prompt_length", "100", "--max_steps", "1"];
    const { code, said } = await run(...grpoArgs(mkdtempSync(at("long-")), mine("letters"), ...more));
    expect(code, said).toBe(0);
    expect(said).toMatch(/note: 1 training prompts left out: longer than max_prompt_length 100 tokens/);
    expect(said).toContain("6 prompts");
  });

  it("an EOS id outside the vocabulary, and a model without a tokenizer", async () => {
    const model = await modelAt(mkdtempSync(at("model-")), [258, 999_999]);
    await refused(
      /FormatError: Cannot end completions at eos_token_id 999999 of .*: it is outside the vocabulary of 264/,
      mine("letters"),
      "--model_name_or_path",
      model,
    );
    await nodeFolder(model).remove("tokenizer.json");
    await refused(
      /NotFoundError: Cannot read prompts: .* has no tokenizer\.json/,
      mine("letters"),
      "--model_name_or_path",
      model,
    );
  });

  it("a prompt with no room for a completion", async () => {
    const rows = rowsFile(Array(4).fill({ prompt: "1".repeat(300) }));
    await refused(
      /DataError: Cannot complete a prompt of 300 tokens/,
      mine("letters"),
      "--dataset_name",
      rows,
      "--max_completion_length",
      "40000",
    );
  });

  it("what TRL has and this has not, with the reason", async () => {
    await refused(/RecipeError: top_entropy_quantile/, mine("letters"), ...["--top_entropy_quantile", "1.2"]);
    await refused(/RecipeError: loss_type must be one of dapo, .*sapo/, mine("letters"), "--loss_type", "ppo");
  });

  it("no model; no rows; wrong usage exits 2", async () => {
    const none = await run(
      "grpo",
      "--reward_funcs",
      "int_reward_func",
      "--dataset_name",
      at("rows.jsonl"),
      "--output_dir",
      at("x"),
    );
    expect(none.code).toBe(2);
    expect(none.said).toMatch(/RecipeError: model_name_or_path is missing/);
    const usage = await run("grpo", "--num_generation", "4");
    expect(usage.code).toBe(2);
    expect(usage.said).toMatch(/Unknown flag --num_generation: did you mean --num_generations\?/);
  });
});

describe("qwench plan", () => {
  const plan = async (...argv: string[]) => {
    const stdout = vi.spyOn(process.stdout, "write").mockImplementation(() => true);
    const result = await run("plan", ...argv);
    stdout.mockRestore();
    return result;
  };

  it("knows a GRPO recipe by its fields, in a file or among the flags, or by --method", async () => {
    const recipe = at("recipe.yaml");
    const yaml = {
      model_name_or_path: at("model"),
      dataset_name: at("rows.jsonl"),
      reward_funcs: mine("letters"),
      per_device_train_batch_size: 8,
    };
    writeFileSync(
      recipe,
      JSON.stringify(yaml)
        .slice(1, -1)
        .replaceAll(/,"(?=\w+":)/g, '\n"')
        .replaceAll(/^"(\w+)":/gm, "$1: "),
    );
    const { code, said } = await plan(recipe, "--max_completion_length", "20");
    expect(code, said).toBe(0);
    expect(said).toContain("generation batches of 1 prompts × 8 completions of at most 20 tokens");
    expect(said).toMatch(/It fits( WebGPU's limits)?\./);
    const flags = ["--model_name_or_path", at("model"), "--dataset_name", at("rows.jsonl")];
    expect((await plan(...flags, "--num_generations", "4")).said).toMatch(/reward_funcs is missing/);
    expect((await plan(...flags, "--method", "grpo")).said).toMatch(/reward_funcs is missing/);
    const sft = await plan(...flags, "--learning_rate", "1e-4");
    expect(sft.code, sft.said).toBe(0);
    expect(sft.said).toContain("24 rows");
  });

  it("refuses an unknown method", async () => {
    const { code, said } = await plan("--method", "ppo");
    expect(code).toBe(2);
    expect(said).toMatch(/--method must be one of sft, grpo, dpo, got ppo/);
  });
});
