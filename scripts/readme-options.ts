// Writes the README's table of options from src/recipe.ts: `tsx scripts/readme-options.ts [--check]`.
// --check changes nothing and exits 1 when the table is out of date.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defaultText, groupTitle, valueHint, valueText } from "../src/cli/help.ts";
import { type Field, fieldsOf, groups, type Method } from "../src/recipe.ts";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));
const open = "<!-- options -->";
const close = "<!-- /options -->";

/** The table of a method's options in Markdown, a heading row a group. */
export function optionsTable(method: Method): string {
  const lines = ["| option | value | default | meaning |", "|---|---|---|---|"];
  for (const group of groups) {
    const members = fieldsOf(method).filter((field) => field.group === group);
    if (members.length > 0) lines.push(`| **${groupTitle(group)}** | | | |`);
    for (const field of members) {
      lines.push(
        `| \`${field.name}\`${field.origin === "qwench" ? " ⁑" : ""} | ${value(field)} | ${initial(field, method)} | ${cell(field.help)} |`,
      );
    }
  }
  return lines.join("\n");
}

/** The README's text with a fresh table between its markers. */
export function withOptions(text: string): string {
  const from = text.indexOf(open);
  const to = text.indexOf(close);
  if (from < 0 || to < from) throw new Error(`README.md must hold ${open} and, after it, ${close}`);
  return `${text.slice(0, from + open.length)}\n${optionsTable("sft")}\n${text.slice(to)}`;
}

function value(field: Field): string {
  if (field.type === "choice") return (field.choices ?? []).map((choice) => `\`${choice}\``).join(" ");
  const kind = cell(valueHint(field).toLowerCase());
  return field.unit ? `${kind}, ${field.unit}` : kind;
}

function initial(field: Field, method: Method): string {
  const trl = field.trlDefault === undefined ? "" : ` (TRL: \`${valueText(field.trlDefault)}\`)`;
  return `\`${defaultText(field, method)}\`${trl}`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const before = readFileSync(readme, "utf8");
  const after = withOptions(before);
  if (process.argv.includes("--check")) {
    if (before !== after)
      console.error("README.md: the table of options is out of date; run tsx scripts/readme-options.ts");
    process.exitCode = before === after ? 0 : 1;
  } else if (before !== after) writeFileSync(readme, after);
}
