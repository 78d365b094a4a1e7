import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { differencesTable, optionsTable, resultsTable, withTables } from "../../scripts/readme-options.ts";
import { recipesTable } from "../../src/cli/commands/recipe.ts";
import { RECIPES } from "../../src/recipe/published.ts";
import { fieldsOf } from "../../src/recipe/recipe.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

test("the README's tables are those of src/recipe/recipe.ts and bench/results.jsonl", () => {
  expect(withTables(readme), "run: npx tsx scripts/readme-options.ts").toBe(readme);
});

const row = {
  commit: "aaa",
  adapter: "A",
  what: "w",
  shape: "[1]",
  dtype: "f32",
  median_ms: 2,
  spread: 0.1,
  gflops: 3,
  ratio: null,
  against: null,
};
const resultsOf = (...rows: object[]) =>
  resultsTable(rows.map((each) => JSON.stringify({ ...row, ...each })).join("\n"));

test("of two rows about the same thing the table of results shows the newer", () => {
  const table = resultsOf({}, { commit: "bbb", median_ms: 1.5 });
  expect(table).toContain("| w | [1] | f32 | 1.50 | 5 | 3.0 |  |  |  |  |  | bbb |");
  expect(table).not.toContain("aaa");
  expect(resultsTable("")).toBe("Nothing was measured yet.");
});

test("of one thing at several shapes the newest commit's count, on each adapter", () => {
  const table = resultsOf(
    { shape: "[2]" },
    { adapter: "B" },
    { commit: "bbb" },
    { commit: "bbb", shape: "[3]" },
    { what: "v", shape: "[2]" },
  );
  const shown = table.split("\n").filter((line) => /^\| [vw] /.test(line)).map((line) => line.split(" | ")); // biome-ignore format: a line
  expect(shown.map(([what, shape, ...rest]) => [what, shape, rest.at(-1)])).toEqual([
    ["| w", "[1]", "bbb |"],
    ["| w", "[3]", "bbb |"],
    ["| v", "[2]", "aaa |"],
    ["| w", "[1]", "aaa |"], // B
  ]);
});

test("limits come first, with whether they are met, and each peer has a column", () => {
  const table = resultsOf(
    { what: "plain", tokens_per_s: 1234.5 },
    { what: "fast", ratio: 2.5, against: "GFLOP/s of jax-js", least: 2, met: true, peers: { "jax-js": 2.5, tfjs: 4 } },
    { what: "slow", ratio: 3.5, against: "time of it", most: 3, met: false, peers: { torch: 0.5 } },
    { what: "scale by length: SFT step", x: 256 },
    { what: "scale by length: exponent of SFT step", ratio: 1.2 },
  );
  const lines = table.split("\n");
  expect(lines[0]).toMatch(/asked \| met \| ÷ jax-js \| ÷ tfjs \| ÷ torch \| commit \|$/);
  expect(lines[3]).toMatch(/^\| fast .* 2\.50 \| GFLOP\/s of jax-js \| ≥ 2 \| yes \| 2\.50 \| 4\.00 \| {2}\| aaa \|$/);
  expect(lines[4]).toMatch(/^\| slow .* 3\.50 \| time of it \| ≤ 3 \| \*\*no\*\* \| {2}\| {2}\| 0\.50 \| aaa \|$/);
  expect(lines[5]).toMatch(/^\| plain .* 1230 /);
  expect(lines[6]).toMatch(/exponent/);
  expect(lines).toHaveLength(7);
  const cells = lines.map((line) => line.split("|").length);
  expect(new Set(cells).size).toBe(1);
});

test("the table has a row a field, of four cells", () => {
  const rows = optionsTable(fieldsOf("sft")).split("\n");
  for (const field of fieldsOf("sft"))
    expect(rows.filter((row) => row.startsWith(`| \`${field.name}\``))).toHaveLength(1);
  for (const row of rows) expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
});

test("GRPO's table has what SFT's has not or has otherwise, and names what is left out", () => {
  const [intro, table] = differencesTable("grpo", "sft").split("\n\n");
  const rows = table.trimEnd().split("\n");
  for (const row of rows) expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
  const sft = fieldsOf("sft");
  for (const field of fieldsOf("grpo")) {
    const same = sft.find(({ name }) => name === field.name);
    const inSft = same && optionsTable([same]) === optionsTable([field]);
    expect(rows.filter((row) => row.startsWith(`| \`${field.name}\``))).toHaveLength(inSft ? 0 : 1);
  }
  const shared = fieldsOf("grpo").map((field) => field.name);
  for (const { name } of sft) expect(intro.includes(`\`${name}\``), name).toBe(!shared.includes(name));
});

test("the table of recipes has a row a recipe, of four cells", () => {
  const rows = recipesTable().split("\n");
  for (const row of rows) expect(row.split("|")).toHaveLength(6);
  for (const { name } of RECIPES) expect(rows.filter((row) => row.startsWith(`| \`${name}\``))).toHaveLength(1);
});

test("a README without markers is refused", () => {
  expect(() => withTables("# Qwench\n")).toThrow("<!-- options -->");
});

test("the README's recipe is one", async () => {
  const { parseRecipeYaml } = await import("../../src/recipe/yaml.ts");
  const examples = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)];
  expect(examples.length).toBeGreaterThan(0);
  for (const [, text] of examples) {
    const method = /^reward_funcs:/m.test(text) ? "grpo" : "sft";
    expect(parseRecipeYaml(text, "README.md", method).notes).toEqual([]);
  }
});

test("the README states the two commands", () => {
  expect(readme).toContain("npm ci && npm start");
  expect(readme).toContain("npm ci && npm test");
});
