import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { run } from "../cli/e2e.ts";
import { TRL_FIELDS } from "./trl-fields.ts";
import { TRL_RECIPES, writeTrlFolder } from "./trl-recipes.ts";

const before = process.cwd();
let root: string;

beforeAll(() => {
  root = writeTrlFolder();
  process.chdir(root);
});

afterAll(() => {
  process.chdir(before);
  rmSync(root, { recursive: true, force: true });
});

describe("a recipe in TRL's spelling", () => {
  it.each(TRL_RECIPES.map((recipe) => [recipe.name, recipe] as const))(
    "%s has only TRL's names, and is read",
    (_, of) => {
      const text = readFileSync(of.file, "utf8");
      for (const [, name] of text.matchAll(/^(\w+):/gm)) expect(TRL_FIELDS[of.method].has(name), name).toBe(true);
      expect(parseRecipeYaml(text, of.file, of.method).recipe.max_steps).toBe(2);
    },
  );

  // the others run in the slow suite
  it.each(["sft-mixture"])("%s runs for two steps, unchanged", async (name) => {
    const { method, file } = TRL_RECIPES.find((recipe) => recipe.name === name)!;
    const { code, said } = await run(method, file, "--output_dir", join("out", name));
    expect(said).toMatch(/^Done: step 2/m);
    expect(code).toBe(0);
  });
});
