import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { optionsTable, withOptions } from "../../scripts/readme-options.ts";
import { fields } from "../../src/recipe.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

test("the README's table of options is that of src/recipe.ts", () => {
  expect(withOptions(readme), "run: npx tsx scripts/readme-options.ts").toBe(readme);
});

test("the table has a row a field, of four cells", () => {
  const rows = optionsTable("sft").split("\n");
  for (const field of fields) expect(rows.filter((row) => row.startsWith(`| \`${field.name}\``))).toHaveLength(1);
  for (const row of rows) expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
});

test("a README without markers is refused", () => {
  expect(() => withOptions("# Qwench\n")).toThrow("<!-- options -->");
});

test("the README's recipe is one", async () => {
  const { parseRecipeYaml } = await import("../../src/recipe.ts");
  const examples = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)];
  expect(examples.length).toBeGreaterThan(0);
  for (const [, text] of examples) expect(parseRecipeYaml(text, "README.md", "sft").notes).toEqual([]);
});

test("the README states the two commands", () => {
  expect(readme).toContain("npm ci && npm start");
  expect(readme).toContain("npm ci && npm test");
});
