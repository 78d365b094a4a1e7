// The tables of options: recipe fields from src/recipe/recipe.ts, flags from the command line's own lists.
import { COMMANDS } from "../src/cli/main.ts";
import { defaultText, groupTitle, valueHint, valueText } from "../src/cli/terminal/help.ts";
import { type Field, fieldOf, fieldsOf, groups, type Method } from "../src/recipe/recipe.ts";
import { markdownTable } from "../src/text/tables.ts";
import { cell, headed } from "./markdown.ts";

/** A table of options in Markdown, with a heading row per group. */
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
  return markdownTable(headed("option", "value", "default", "meaning"), rows);
}

/** A method's differences from the method of the table above: the missing options, then a table of the others. */
export function differencesTable(method: Method, above: Method): string {
  const without = fieldsOf(above).filter(({ name }) => fieldOf(name, method) === null);
  const others = fieldsOf(method).filter((field) => {
    const there = fieldOf(field.name, above);
    return there === null || optionsTable([there]) !== optionsTable([field]);
  });
  const names = without.map((field) => `\`${field.name}\``).join(", ");
  const intro = `\`qwench ${method}\` takes the options above except ${names}. The options below are its own, or differ from those above:`;
  return `${intro}\n\n${optionsTable(others)}\n`;
}

/** One section per command: summary, usage, and a table of the flags that are not recipe fields. */
export function flagsSections(): string {
  return Object.entries(COMMANDS)
    .map(([name, { usage, summary, method, flags = [] }]) => {
      const head = `### qwench ${name}\n\n${summary}\n\nUsage: \`${usage}\``;
      const fields = method === undefined ? "" : `\n\n${FIELDS_TOO[method]}`;
      if (flags.length === 0) return head + fields;
      const rows = flags.map((flag) => [spelled(flag), cell(flag.help)]);
      return `${head}${fields}\n\n${markdownTable(headed("flag", "meaning"), rows)}`;
    })
    .join("\n\n");
}

const FIELDS_TOO = {
  sft: "Every recipe field of SFT is also a flag.",
  grpo: "Every recipe field of GRPO is also a flag.",
  dpo: "Every recipe field of DPO is also a flag.",
  any: "Every recipe field of the recipe's method is also a flag.",
} as const;

function spelled({ name, type, value }: { name: string; type: string; value?: string }): string {
  return `\`--${name}${type === "boolean" ? "" : ` ${cell(value ?? "TEXT")}`}\``;
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
