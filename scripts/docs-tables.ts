// Writes the tables of docs/: options from src/recipe/recipe.ts and the command line, recipes from src/recipe/published.ts,
// results from bench/results.jsonl, calls and exports from the declarations of the package's entries. `npx tsx scripts/docs-tables.ts [--check]`: --check
// changes nothing and exits with 1 if a table is out of date.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { recipesTable } from "../src/cli/commands/recipe.ts";
import { fieldsOf } from "../src/recipe/recipe.ts";
import { callsReference } from "./calls-reference.ts";
import { exportsTables } from "./exports-tables.ts";
import { isaTable } from "./isa-table.ts";
import { between } from "./markdown.ts";
import { differencesTable, flagsSections, optionsTable } from "./options-tables.ts";
import { resultsTable } from "./results-table.ts";
import { rewardsTable } from "./rewards-table.ts";

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** The tables of each document, by the names of their markers. */
const TABLES: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  "docs/options.md": {
    options: () => optionsTable(fieldsOf("sft")),
    "options-grpo": () => differencesTable("grpo", "sft"),
    "options-dpo": () => differencesTable("dpo", "sft"),
    flags: flagsSections,
  },
  "docs/recipes.md": { recipes: recipesTable },
  "docs/performance.md": { isa: () => isaTable(measured()), results: () => resultsTable(measured()) },
  "docs/library.md": { calls: callsReference, exports: exportsTables },
  "docs/rewards.md": { functions: rewardsTable },
};

/** Documents that hold tables. */
export const documents: readonly string[] = Object.keys(TABLES);

function measured(): string {
  const file = at("bench/results.jsonl");
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

/** A document's text with fresh tables between their markers. @param path from the root */
export function withTables(path: string, text: string): string {
  return Object.entries(TABLES[path]).reduce((so, [name, table]) => between(so, name, table()), text);
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  for (const path of documents) {
    const before = readFileSync(at(path), "utf8");
    const after = withTables(path, before);
    if (before === after) continue;
    if (process.argv.includes("--check")) {
      console.error(`${path}: a table is out of date; run npx tsx scripts/docs-tables.ts`);
      process.exitCode = 1;
    } else writeFileSync(at(path), after);
  }
}
