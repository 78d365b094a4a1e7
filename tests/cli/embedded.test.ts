import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { readRecipe } from "../../src/cli/runs/prepare.ts";
import { embeddedRecipe } from "../../src/cli/sources/embedded.ts";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";
import { embeddedRows, XML_SYSTEM } from "../../src/data/sets/embedded.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";

const none = { positional: [], overrides: {}, flags: {} };

describe("a command without a recipe", () => {
  it("uses the embedded model and its problems, with a note", async () => {
    for (const method of ["sft", "grpo"] as const) {
      const { recipe, notes } = await readRecipe(none, method);
      expect(recipe).toEqual(parseRecipe(embeddedRecipe(method), method).recipe);
      expect(recipe).toMatchObject({ model_name_or_path: embeddedModelFolder(), use_peft: true });
      expect(notes[0]).toContain("the embedded model");
    }
  });

  it("still obeys flags", async () => {
    const { recipe } = await readRecipe({ ...none, overrides: { max_steps: "3" } }, "sft");
    expect(recipe).toMatchObject({ max_steps: 3, model_name_or_path: embeddedModelFolder() });
  });

  it("has no effect if a model or rows are given", async () => {
    const { recipe } = await readRecipe({ ...none, overrides: { dataset_name: "rows.jsonl" } }, "sft");
    expect(recipe).toMatchObject({ model_name_or_path: null, dataset_name: "rows.jsonl", max_steps: -1 });
  });
});

describe("GRPO of the embedded model", () => {
  it("continues from SFT's adapter if there is one, else asks for the format in the prompt", () => {
    const home = process.cwd();
    const folder = mkdtempSync(join(tmpdir(), "qwench-embedded-"));
    try {
      process.chdir(folder);
      expect(embeddedRecipe("grpo")).toMatchObject({ system_prompt: XML_SYSTEM });
      expect(embeddedRecipe("grpo")).not.toHaveProperty("adapter_name_or_path");
      mkdirSync("qwench-start/sft", { recursive: true });
      writeFileSync("qwench-start/sft/adapter_config.json", "{}");
      expect(embeddedRecipe("grpo")).toMatchObject({ adapter_name_or_path: "qwench-start/sft" });
      expect(embeddedRecipe("grpo")).not.toHaveProperty("system_prompt");
    } finally {
      process.chdir(home);
    }
  });
});

describe("qwench without a recipe", () => {
  const root = mkdtempSync(join(tmpdir(), "qwench-embedded-"));
  const trained = async (...argv: string[]) => {
    let said = "";
    vi.spyOn(console, "error").mockImplementation((...parts) => void (said += `${parts.join(" ")}\n`));
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const output = join(root, argv[0]);
    try {
      expect(await main([...argv, "--max_steps", "1", "--logging_steps", "1", "--output_dir", output])).toBe(0);
    } finally {
      vi.restoreAllMocks();
    }
    // the forecast bounds what the pool has really held; completions may end before max_completion_length
    const [, forecast, peak] = /forecast ([\d.]+) MiB, ledger peak ([\d.]+) MiB/.exec(said)!.map(Number);
    expect(peak).toBeLessThanOrEqual(forecast);
    expect(peak).toBeGreaterThan((argv[0] === "grpo" ? 0.5 : 0.98) * forecast);
    return JSON.parse(readFileSync(join(output, "metrics.jsonl"), "utf8").split("\n")[0]);
  };

  it("fine-tunes", async () => {
    expect((await trained("sft")).loss).toBeGreaterThan(1);
  });

  it("reinforces the untrained model too: asked for the format, it knows the format", async () => {
    const record = await trained("grpo", "--system_prompt", XML_SYSTEM);
    // shares of 64 sampled completions, which no two machines sample alike: that some have the form and some are right
    // holds on all of them
    for (const name of ["strict_format_reward_func", "correctness_reward_func"])
      expect(record[`rewards/${name}/mean`], name).toBeGreaterThan(0);
    expect(record["rewards/strict_format_reward_func/mean"]).toBeLessThanOrEqual(0.5);
    expect(record["rewards/correctness_reward_func/mean"]).toBeLessThanOrEqual(2);
    expect(record.reward_std).toBeGreaterThan(0);
  });
});

describe("the embedded model's files", () => {
  const folder = embeddedModelFolder();

  it("equal the generator's output, and are small", () => {
    for (const split of ["train", "test"] as const) {
      const lines = readFileSync(join(folder, "problems", `${split}.jsonl`), "utf8")
        .trim()
        .split("\n");
      expect(lines.map((line) => JSON.parse(line))).toEqual(embeddedRows(split));
    }
    expect(statSync(join(folder, "model.safetensors")).size).toBeLessThan(8e6);
  });
});
