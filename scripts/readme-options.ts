// Writes the README's tables, of options from src/recipe.ts, of recipes from src/cli/recipes.ts and of results from
// bench/results.jsonl: `tsx scripts/readme-options.ts [--check]`. --check changes nothing and exits 1 when a table is out of date.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defaultText, groupTitle, valueHint, valueText } from "../src/cli/help.ts";
import { recipesTable } from "../src/cli/recipe.ts";
import { type Field, fieldsOf, groups, type Method } from "../src/recipe.ts";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));
const results = fileURLToPath(new URL("../bench/results.jsonl", import.meta.url));

/** A table of options in Markdown, a heading row a group. */
export function optionsTable(options: readonly Field[]): string {
  const lines = ["| option | value | default | meaning |", "|---|---|---|---|"];
  for (const group of groups) {
    const members = options.filter((field) => field.group === group);
    if (members.length > 0) lines.push(`| **${groupTitle(group)}** | | | |`);
    for (const field of members) {
      lines.push(
        `| \`${field.name}\`${field.origin ? " ⁑" : ""} | ${value(field)} | ${initial(field)} | ${cell(field.help)} |`,
      );
    }
  }
  return lines.join("\n");
}

/** What is otherwise in a method than in the one whose table stands above: options left out, then a table of the rest. */
export function differencesTable(method: Method, above: Method): string {
  const without = fieldsOf(above).filter((field) => !field.methods.includes(method));
  const others = fieldsOf(method).filter((field) => !field.methods.includes(above) || field.differs?.[method]);
  const names = without.map((field) => `\`${field.name}\``).join(", ");
  const intro = `\`qwench ${method}\` takes the options above but for ${names}. These are its own, or differ:`;
  return `${intro}\n\n${optionsTable(others)}\n`;
}

/** One line of bench/results.jsonl; see bench/rows.ts. */
interface ResultRow {
  commit: string;
  adapter: string;
  what: string;
  shape: string;
  dtype: string;
  median_ms: number;
  spread: number;
  gflops: number | null;
  ratio: number | null;
  against: string | null;
}

/** The newest row of each thing measured on each adapter, in Markdown. */
export function resultsTable(jsonl: string): string {
  const newest = new Map<string, ResultRow>();
  for (const line of jsonl.split("\n").filter(Boolean)) {
    const row = JSON.parse(line) as ResultRow;
    newest.set([row.adapter, row.what, row.shape, row.dtype].join("|"), row);
  }
  if (newest.size === 0) return "Nothing was measured yet.";
  const lines = [
    "| what | shape | dtype | ms | ± % | GFLOP/s | ratio | of | commit |",
    "|---|---|---|--:|--:|--:|--:|---|---|",
  ];
  let adapter = "";
  for (const row of newest.values()) {
    if (row.adapter !== adapter) lines.push(`| **${cell(row.adapter)}** | | | | | | | | |`);
    adapter = row.adapter;
    const half = Math.round(50 * row.spread);
    const figures = [
      row.median_ms >= 1000 ? Math.round(row.median_ms) : row.median_ms.toPrecision(3),
      half,
      row.gflops?.toFixed(1) ?? "",
      row.ratio?.toFixed(2) ?? "",
    ];
    lines.push(`| ${[cell(row.what), row.shape, row.dtype, ...figures, row.against ?? "", row.commit].join(" | ")} |`);
  }
  return lines.join("\n");
}

/** The README's text with fresh tables between their markers. */
export function withTables(text: string): string {
  const measured = existsSync(results) ? readFileSync(results, "utf8") : "";
  const tables = {
    options: optionsTable(fieldsOf("sft")),
    "options-grpo": differencesTable("grpo", "sft"),
    recipes: recipesTable(),
    results: resultsTable(measured),
  };
  return Object.entries(tables).reduce((so, [name, table]) => between(so, name, table), text);
}

function between(text: string, name: string, table: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const from = text.indexOf(open);
  const to = text.indexOf(close);
  if (from < 0 || to < from) throw new Error(`README.md must hold ${open} and, after it, ${close}`);
  return `${text.slice(0, from + open.length)}\n${table}\n${text.slice(to)}`;
}

function value(field: Field): string {
  if (field.type === "choice") return (field.choices ?? []).map((choice) => `\`${choice}\``).join(" ");
  const kind = cell(valueHint(field).toLowerCase());
  return field.unit ? `${kind}, ${field.unit}` : kind;
}

function initial(field: Field): string {
  const trl = field.trlDefault === undefined ? "" : ` (TRL: \`${valueText(field.trlDefault)}\`)`;
  return `\`${defaultText(field)}\`${trl}`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const before = readFileSync(readme, "utf8");
  const after = withTables(before);
  if (process.argv.includes("--check")) {
    if (before !== after) console.error("README.md: a table is out of date; run tsx scripts/readme-options.ts");
    process.exitCode = before === after ? 0 : 1;
  } else if (before !== after) writeFileSync(readme, after);
}
