import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { embeddedRecipe } from "../../src/cli/embedded.ts";
import { embeddedModelFolder } from "../../src/cli/embedded-folder.ts";
import { readRecipe } from "../../src/cli/prepare.ts";
import { embeddedRows, XML_SYSTEM } from "../../src/data/embedded.ts";
import { parseRecipe } from "../../src/recipe.ts";

const none = { positional: [], overrides: {}, flags: {} };

describe("a command without a recipe", () => {
  it("takes the embedded model and its problems, and says so", async () => {
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

  it("has no say once a model or rows are named", async () => {
    const { recipe } = await readRecipe({ ...none, overrides: { dataset_name: "rows.jsonl" } }, "sft");
    expect(recipe).toMatchObject({ model_name_or_path: null, dataset_name: "rows.jsonl", max_steps: -1 });
  });
});

describe("GRPO of the embedded model", () => {
  it("goes on from SFT's adapter where there is one, else asks for the form", () => {
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

describe("the embedded model's files", () => {
  const folder = embeddedModelFolder();

  it("are those that the generator writes, and small", () => {
    for (const split of ["train", "test"] as const) {
      const lines = readFileSync(join(folder, "problems", `${split}.jsonl`), "utf8")
        .trim()
        .split("\n");
      expect(lines.map((line) => JSON.parse(line))).toEqual(embeddedRows(split));
    }
    expect(statSync(join(folder, "model.safetensors")).size).toBeLessThan(8e6);
  });
});
