// Writes the README's tables, of options from src/recipe/recipe.ts, of recipes from src/recipe/published.ts and of results from
// bench/results.jsonl: `tsx scripts/readme-options.ts [--check]`. --check changes nothing and exits 1 when a table is out of date.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { recipesTable } from "../src/cli/commands/recipe.ts";
import { defaultText, groupTitle, valueHint, valueText } from "../src/cli/terminal/help.ts";
import { type Field, fieldsOf, groups, type Method } from "../src/recipe/recipe.ts";
import { markdownTable } from "../src/text/tables.ts";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));
const results = fileURLToPath(new URL("../bench/results.jsonl", import.meta.url));

/** A table of options in Markdown, a heading row a group. */
export function optionsTable(options: readonly Field[]): string {
  const rows: string[][] = [];
  for (const group of groups) {
    const members = options.filter((field) => field.group === group);
    if (members.length > 0) rows.push([`**${groupTitle(group)}**`, "", "", ""]);
    for (const field of members) {
      const name = `\`${field.name}\`${field.origin ? " ⁑" : ""}`;
      rows.push([name, value(field), initial(field), cell(field.help)]);
    }
  }
  return markdownTable(
    ["option", "value", "default", "meaning"].map((heading) => ({ heading })),
    rows,
  );
}

/** What is otherwise in a method than in the one whose table stands above: options left out, then a table of the rest. */
export function differencesTable(method: Method, above: Method): string {
  const without = fieldsOf(above).filter((field) => !field.methods.includes(method));
  const others = fieldsOf(method).filter((field) => !field.methods.includes(above) || field.differs?.[method]);
  const names = without.map((field) => `\`${field.name}\``).join(", ");
  const intro = `\`qwench ${method}\` takes the options above but for ${names}. These are its own, or differ:`;
  return `${intro}\n\n${optionsTable(others)}\n`;
}

/** What of a line of bench/results.jsonl the table shows; see bench/rows.ts. */
interface ResultRow {
  commit: string;
  adapter: string;
  what: string;
  shape: string;
  dtype: string;
  median_ms: number;
  spread: number;
  gflops: number | null;
  tokens_per_s?: number;
  ratio: number | null;
  against: string | null;
  least?: number;
  most?: number;
  met?: boolean;
  peers?: Record<string, number>;
  x?: number;
}

/**
 * The newest rows of each thing measured on each adapter, in Markdown: those that a limit is set for first. Of one thing at
 * several shapes those of the newest commit count. Values by size are in bench/scale.md.
 */
export function resultsTable(jsonl: string): string {
  const all = jsonl
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ResultRow)
    .filter(({ what, x }) => x === undefined && (!what.startsWith("scale by") || what.includes("exponent")));
  const limited = ({ met }: ResultRow) => met !== undefined;
  const thing = (row: ResultRow) => `${row.adapter}|${row.what}|${limited(row)}`;
  const newest = new Map(all.map((row) => [thing(row), row.commit]));
  const rows = new Map<string, ResultRow>();
  for (const row of all) {
    if (row.commit === newest.get(thing(row))) rows.set([thing(row), row.shape, row.dtype].join("|"), row);
  }
  if (rows.size === 0) return "Nothing was measured yet.";
  const peers = [...new Set([...rows.values()].flatMap(({ peers }) => Object.keys(peers ?? {})))];
  const headings = ["what", "shape", "dtype", "ms", "± %", "GFLOP/s", "tokens/s", "ratio", "of", "asked", "met"];
  const columns = [...headings, ...peers.map((name) => `÷ ${name}`), "commit"];
  const right = new Set(["ms", "± %", "GFLOP/s", "tokens/s", "ratio", ...peers.map((name) => `÷ ${name}`)]);
  const cells: unknown[][] = [];
  for (const adapter of new Set(all.map((row) => row.adapter))) {
    cells.push([`**${cell(adapter)}**`, ...columns.slice(1).map(() => "")]);
    const of = [...rows.values()].filter((row) => row.adapter === adapter);
    for (const row of [...of.filter(limited), ...of.filter((row) => !limited(row))]) {
      cells.push(resultCells(row, peers));
    }
  }
  return markdownTable(
    columns.map((heading) => ({ heading, align: right.has(heading) ? "right" : "left" })),
    cells,
  );
}

function resultCells(row: ResultRow, peers: readonly string[]): (string | number)[] {
  const { least, most, met } = row;
  const asked = least !== undefined ? `≥ ${least}` : most !== undefined ? `≤ ${most}` : "";
  return [
    cell(row.what),
    row.shape,
    row.dtype,
    row.median_ms >= 1000 ? Math.round(row.median_ms) : row.median_ms.toPrecision(3),
    Math.round(50 * row.spread),
    row.gflops?.toFixed(1) ?? "",
    row.tokens_per_s === undefined ? "" : Number(row.tokens_per_s.toPrecision(3)),
    row.ratio?.toFixed(2) ?? "",
    row.against ?? "",
    asked,
    met === undefined ? "" : met ? "yes" : "**no**",
    ...peers.map((name) => row.peers?.[name]?.toFixed(2) ?? ""),
    row.commit,
  ];
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
