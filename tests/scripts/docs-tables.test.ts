import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { documents, withTables } from "../../scripts/docs-tables.ts";
import { exportedNames } from "../../scripts/exports-tables.ts";
import { differencesTable, flagsSections, optionsTable } from "../../scripts/options-tables.ts";
import { resultsTable } from "../../scripts/results-table.ts";
import { recipesTable } from "../../src/cli/commands/recipe.ts";
import { COMMANDS } from "../../src/cli/main.ts";
import { RECIPES } from "../../src/recipe/published.ts";
import { fieldsOf } from "../../src/recipe/recipe.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

test.each(documents)("the tables of %s are up to date", (path) => {
  expect(withTables(path, read(path)), "run: npx tsx scripts/docs-tables.ts").toBe(read(path));
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

test("the table of results shows the newer of two rows about the same measurement", () => {
  const table = resultsOf({}, { commit: "bbb", median_ms: 1.5 });
  expect(table).toContain("| w | [1] | f32 | 1.50 | 5 | 3.0 |  |  |  |  |  | bbb |");
  expect(table).not.toContain("aaa");
  expect(resultsTable("")).toBe("There are no measurements yet.");
});

test("for several shapes, the newest commit's rows count, on each adapter", () => {
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

test("limits come first, with pass or fail, and each peer has a column", () => {
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

test("the table has one row per field, with four cells", () => {
  const rows = optionsTable(fieldsOf("sft")).split("\n");
  for (const field of fieldsOf("sft"))
    expect(rows.filter((row) => row.startsWith(`| \`${field.name}\``))).toHaveLength(1);
  for (const row of rows) expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
});

test("GRPO's table has the fields that differ from SFT's, and names omitted fields", () => {
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

test("the table of recipes has one row per recipe, with four cells", () => {
  const rows = recipesTable().split("\n");
  for (const row of rows) expect(row.split("|")).toHaveLength(6);
  for (const { name } of RECIPES) expect(rows.filter((row) => row.startsWith(`| \`${name}\``))).toHaveLength(1);
});

test("a document without markers is refused", () => {
  expect(() => withTables("docs/options.md", "# Options\n")).toThrow("<!-- options -->");
});

test("each command has a section, with one row per flag", () => {
  const sections = flagsSections().split("### ").slice(1);
  expect(sections.map((section) => section.split("\n")[0])).toEqual(
    Object.keys(COMMANDS).map((name) => `qwench ${name}`),
  );
  for (const [i, { flags = [] }] of Object.values(COMMANDS).entries()) {
    for (const { name } of flags) expect(sections[i]).toMatch(new RegExp(`^\\| \`--${name}[ \`]`, "m"));
  }
});

test("exports are read from the entries' own declarations", () => {
  const entries = exportedNames();
  const { qwench } = entries;
  expect(qwench.find(({ name }) => name === "parseRecipe")).toEqual({
    name: "parseRecipe",
    kind: "function",
    summary: expect.stringMatching(/^Reads a recipe from an object.*\.$/),
    file: "src/recipe/recipe.ts",
  });
  for (const { name, summary } of Object.values(entries).flat()) {
    expect(summary, `the docstring of ${name}`).toMatch(/^[A-Z`].*\S/);
    expect(summary, name).not.toContain("{@link");
  }
});

test("the README states the two commands", () => {
  expect(read("README.md")).toContain("npm ci && npm start");
  expect(read("README.md")).toContain("npm ci && npm test");
});
