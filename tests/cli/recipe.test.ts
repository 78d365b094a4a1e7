import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RECIPES } from "../../src/recipe/published.ts";
import { run } from "./e2e.ts";

let folder: string;
/** The temporary folder of a dry run, by what it said. */
const workplace = (said: string) => /\/\S+\/qwench-dry-run-\w+/.exec(said)?.[0];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "qwench-recipe-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("qwench recipe", () => {
  it("lists them, prints one, and writes TRL's", async () => {
    const list = await run("recipe");
    expect(list.code).toBe(0);
    for (const { name, source } of RECIPES) expect(list.said).toMatch(new RegExp(`^${name} .*${source}$`, "m"));
    expect((await run("recipe", "coder-deep")).said).toMatch(/^# Qwen2.5-Coder[\s\S]*^learning_rate: 3e-5$/m);
    const trl = await run("recipe", "coder-deep", "--for", "trl");
    expect(trl.said).toMatch(/^# coder-deep, for TRL 1: trl sft --config coder-deep.yaml$/m);
    expect(trl.said).toMatch(/^learning_rate: 0.00003$/m);
    const file = join(folder, "mine.yaml");
    writeFileSync(file, "model_name_or_path: a/b\ndataset_name: rows.jsonl\nreward_funcs: [accuracy]\nmax_steps: 3\n");
    const mine = await run("recipe", file, "--for", "trl");
    expect(mine.said).toMatch(/^# mine, for TRL 1: trl grpo --config mine.yaml$[\s\S]*^ {2}- accuracy_reward$/m);
    writeFileSync(file, "lora_rank: 3\n");
    expect((await run("recipe", file, "--for", "trl")).said).toMatch(/mine.yaml:1: Unknown recipe key "lora_rank"/);
  });

  it.each<[string[], RegExp]>([
    [["recipe", "coder-dep"], /There is no recipe coder-dep: did you mean coder-deep\?/],
    [["recipe", "coder-deep", "--for", "axolotl"], /--for must be trl, got axolotl/],
    [["recipe", "--for", "trl"], /--for needs a recipe: qwench recipe NAME --for trl/],
    [["sft", "--recipe", "open-rs1"], /The recipe open-rs1 is for grpo: run qwench grpo --recipe open-rs1/],
    [["grpo", "--recipe", "open-rs9"], /There is no recipe open-rs9: did you mean open-rs1\?/],
    [["sft", "mine.yaml", "--recipe", "coder-deep"], /Give at most one recipe, got mine.yaml, --recipe coder-deep/],
    [["sft", "--recipe", "coder-deep", "--dry_run", "tinny"], /--dry_run must be tiny, got tinny: did you mean tiny\?/],
  ])("%j is a wrong usage", async (argv, sentence) => {
    const { code, said } = await run(...argv);
    expect(said).toMatch(sentence);
    expect(code).toBe(2);
  });

  it("a second stage without its first is refused with the command that runs it", async () => {
    const { code, said } = await run("grpo", "--recipe", "o5-mini-grpo");
    expect(said).toMatch(
      /continues from the adapter in qwench-o5-mini-sft, .*run qwench sft --recipe o5-mini-sft first/,
    );
    expect(code).toBe(1);
  });

  it("plan forecasts one by its model's shape; that it does not fit is said after the forecast", async () => {
    const fits = await run("plan", "--recipe", "o5-mini-sft", "--max_memory", "100");
    expect(fits.said).toMatch(/Forecast from the shape of Qwen\/Qwen2.5-3B, .*LoRA r=32\), passes of 1 × 2,000 tokens/);
    expect(fits.said).toMatch(/^peak +7\.\d+ GiB[\s\S]*It fits\./m);
    expect(fits.code).toBe(0);
    const longer = await run("plan", "--recipe", "o5-mini-sft", "--max_length", "4000", "--max_memory", "100");
    expect(longer.said).toContain("passes of 1 × 4,000 tokens"); // above the recipe's own
    const small = await run("plan", "--recipe", "o5-mini-sft", "--max_memory", "1");
    expect(small.said).toMatch(/^peak +7\.\d+ GiB[\s\S]*MemoryError: Cannot train: the forecast is 7\.\d+ GiB/m);
    expect(small.code).toBe(1);
  });
});

describe("--dry_run tiny", () => {
  // both dry runs use the 3B model: other heads would need other kernels; dry-run.slow.ts runs every recipe
  it("runs two steps of an SFT recipe with an evaluation, and leaves nothing", async () => {
    const { code, said } = await run(..."sft --recipe o5-mini-sft --dry_run tiny --eval_strategy steps".split(" "));
    expect(said).toMatch(/^Forecast from the shape of Qwen\/Qwen2.5-3B, .*LoRA r=32/m);
    expect(said).toMatch(/^peak +\d+(\.\d+)? GiB/m);
    expect(said).toMatch(/^max_length +32768 +256$/m);
    expect(said).toMatch(/LoRA r=32 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj\); \d+ rows/);
    expect(said).toMatch(/^step 2\/2 {2}loss .* lr /m);
    expect(said).toMatch(/^step 2\/2 {2}eval_loss/m);
    expect(said).toMatch(/^Done: step 2/m);
    expect(said).toMatch(/its model and output are deleted/);
    expect(code).toBe(0);
    expect(workplace(said)).toBeDefined();
    expect(existsSync(workplace(said)!)).toBe(false);
  });

  it("runs two steps of a GRPO recipe; its judge is a stand-in, and output_dir is kept", async () => {
    const output = join(folder, "kept");
    const flags = ["--dry_run", "tiny", "--output_dir", output, "--judge_cache", join(folder, "cache")];
    const { code, said } = await run("grpo", "--recipe", "o5-mini-grpo", ...flags);
    expect(said).toMatch(/^Forecast from the shape of Qwen\/Qwen2.5-3B, .* 1 × \(1,024 \+ 31,744\) tokens/m);
    expect(said).toMatch(/^judge: replaced by a local stand-in that scores every completion 0$/m);
    expect(said).toMatch(/^max_completion_length +31744 +16$/m);
    const [step] = /^step 2\/2 .*$/m.exec(said) ?? [""];
    expect(step).toContain("judge 0.5 ");
    const logs = readFileSync(join(output, "metrics.jsonl"), "utf8");
    for (const part of ['"learning_rate":0.00005', '"kl":', '"rewards/match_format_exactly/mean":0,'])
      expect(logs).toContain(part);
    expect(said).toMatch(/^judge: 8 replies, /m);
    expect(said).toMatch(/That was a dry run: the saved files belong to a small random model\./);
    expect(code).toBe(0);
    expect(existsSync(join(folder, "cache"))).toBe(false); // a stand-in's replies are not a judge's
    const { r, lora_alpha } = JSON.parse(readFileSync(join(output, "adapter_config.json"), "utf8"));
    expect({ r, lora_alpha }).toEqual({ r: 32, lora_alpha: 64 });
  });

  it("data without sample rows is refused before anything runs", async () => {
    const { code, said } = await run("sft", "--recipe", "coder-deep", "--dry_run", "tiny", "--dataset_name", "me/mine");
    expect(said).toMatch(/Cannot dry-run on me\/mine: there are sample rows for gsm8k, /);
    expect(code).toBe(/^RecipeError: /m.test(said) ? 2 : 1);
  });
});
