import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run } from "../cli/e2e.ts";
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

it("are twenty", () => expect(TRL_RECIPES.length).toBeGreaterThanOrEqual(20));

it.each(TRL_RECIPES.map((recipe) => [recipe.name, recipe] as const))(
  "%s runs for two steps, unchanged",
  async (name, { method, file }) => {
    const { code, said } = await run(method, file, "--output_dir", join("out", name));
    expect(said).toMatch(/^Done: step 2/m);
    expect(code).toBe(0);
  },
);
