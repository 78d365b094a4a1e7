import { type Field, fieldOf, fieldsOf, type Group, groups, type Method } from "../../recipe/recipe.ts";
import { type CliFlag, helpFlag } from "../args.ts";
import type { Command } from "../command.ts";

interface HelpSpec {
  /** one line, such as `qwench sft [recipe.yaml] [--field value]…` */
  usage: string;
  /** description of the command, as plain text */
  summary: string;
  /** the method whose recipe fields are flags; absent if the command takes none */
  method?: Method;
  flags?: readonly CliFlag[];
  /** columns to fill; only a longer word exceeds them */
  width?: number;
}

/** Placeholder for a field's value: its choices, or its type and unit. */
export function valueHint(field: Field): string {
  if (field.type === "choice") {
    const choices = (field.choices ?? []).join("|");
    return choices.length > 40 ? "NAME" : choices;
  }
  const kinds = {
    string: "TEXT",
    boolean: "BOOL",
    integer: "INT",
    number: "NUMBER",
    list: "NAMES",
    object: "JSON",
    mappings: "JSON",
  };
  const kind = field.type === "toggle" ? "BOOL|PATH" : field.of === "number" ? "NUMBERS" : kinds[field.type];
  return field.words ? `${kind}|${field.words.join("|")}` : kind;
}

/** A field's default in YAML's spelling. */
export function defaultText(field: Field): string {
  return valueText(field.default);
}

/** A value in YAML's spelling: 0.00001 is shown as 1e-5. */
export function valueText(value: unknown): string {
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The text of `qwench help COMMAND`: usage, summary, the command's own flags, then the recipe's fields by group. */
export function commandHelp({ usage, summary, method, flags = [], width = 100 }: HelpSpec): string {
  const columns = Math.max(30, width);
  const lines = [...wrap(`Usage: ${usage}`, columns), "", ...wrap(summary, columns), "", "Flags"];
  for (const flag of [...flags, helpFlag]) {
    lines.push(...entry(flagHead(flag), flag.help, columns));
  }
  if (method !== undefined) {
    const intro =
      "Recipe fields, each also a key of the recipe's YAML. (qwench) and (open-r1) mark names that TRL does not have.";
    lines.push("", ...wrap(intro, columns));
    for (const group of groups) {
      const members = fieldsOf(method).filter((field) => field.group === group);
      if (members.length === 0) continue;
      lines.push("", groupTitle(group));
      for (const field of members) {
        lines.push(...entry(fieldHead(field), fieldHelp(field), columns));
      }
    }
  }
  return `${lines.join("\n")}\n`;
}

/**
 * The text of `qwench COMMAND --help`: usage, summary, examples, and one line for each flag that most users need.
 *
 * @param name the command's name
 * @param command its entry, with the method whose recipe fields are flags
 */
export function shortHelp(name: string, command: Omit<Command, "method"> & { method?: Method }, width = 100): string {
  const { usage, summary, examples, main, method, flags = [] } = command;
  const columns = Math.max(30, width);
  const shown = main ?? flags.map((flag) => flag.name);
  const lines = [...wrap(`Usage: ${usage}`, columns), "", ...wrap(summary, columns), "", "Examples"];
  lines.push(...examples.map((line) => `  ${line}`));
  const count = flags.length + (method === undefined ? 0 : fieldsOf(method).length);
  if (shown.length > 0) lines.push("", shown.length < count ? "Most used" : "Flags");
  for (const one of shown) {
    const flag = flags.find((candidate) => candidate.name === one);
    const field = flag || method === undefined ? null : fieldOf(one, method);
    if (flag) lines.push(oneLineEntry(flagHead(flag), flag.help, columns));
    else if (field) lines.push(oneLineEntry(fieldHead(field), field.help, columns));
    else throw new Error(`${name} has no flag ${one}`);
  }
  const all = shown.length < count ? `qwench help ${name} lists all ${count} flags. ` : "";
  if (count > 0) lines.push("", ...wrap(`${all}qwench help FLAG describes one.`, columns));
  return `${lines.join("\n")}\n`;
}

/** The beginning of a flag's help: its first sentence, or a clause that ends with a colon; no default in parentheses. */
export function firstClause(help: string): string {
  const [clause, ...more] = help.split(/(?<=[.:]) /);
  const short = /^\w+:$/.test(clause); // such as `QLoRA:`
  return (short ? `${clause} ${more[0]}` : clause).replace(/ \(default[^)]*\)?\.?$/, "").replace(/[.:]$/, "");
}

/** A flag and the beginning of its help, cut to one line. */
function oneLineEntry(head: string, help: string, columns: number): string {
  const left = Math.max(34, head.length + 4);
  const sentence = firstClause(help);
  const room = columns - left;
  if (room < 20) return `  ${head}`;
  const [first, ...more] = wrap(sentence, room - 1);
  return `  ${head}`.padEnd(left) + (more.length > 0 ? `${first.replace(/[,;]$/, "")}…` : first);
}

/** A flag with its short name and placeholder. */
export function flagHead({ name, short, type, value }: CliFlag): string {
  return `${short ? `-${short}, ` : ""}--${name}${type === "boolean" ? "" : ` ${value ?? "TEXT"}`}`;
}

/** A field as a flag, with its placeholder. */
export function fieldHead(field: Field): string {
  return `--${field.name} ${valueHint(field)}`;
}

/** A group's heading. */
export function groupTitle(group: Group): string {
  return ["peft", "grpo", "dpo"].includes(group) ? group.toUpperCase() : `${group[0].toUpperCase()}${group.slice(1)}`;
}

/** Help, unit and default as one paragraph. */
export function fieldHelp(field: Field): string {
  const long = field.type === "choice" && valueHint(field) === "NAME";
  const help = long ? `${field.help} One of ${field.choices?.join(", ")}.` : field.help;
  const facts = [`default ${defaultText(field)}`];
  if (field.trlDefault !== undefined) facts.push(`TRL's ${valueText(field.trlDefault)}`);
  if (field.unit) facts.push(`in ${field.unit}`);
  if (field.origin) facts.push(field.origin);
  return `${help} (${facts.join("; ")})`;
}

/** A flag and its text: side by side if there is room, else one below the other. */
function entry(flag: string, text: string, columns: number): string[] {
  const left = 34;
  if (columns < 72) return [...wrap(flag, columns, "  "), ...wrap(text, columns, "      ")];
  const body = wrap(text, columns - left).map((line) => `${" ".repeat(left)}${line}`);
  const head = `  ${flag}`;
  if (head.length > left - 2) return [head, ...body];
  return [head.padEnd(left) + body[0].slice(left), ...body.slice(1)];
}

/** Breaks text at spaces into lines of at most `width` columns. */
export function wrap(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(/\s+/)) {
    if (word === "") continue;
    if (line.length > indent.length && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent;
    }
    line += line.length > indent.length ? ` ${word}` : word;
  }
  if (line.length > indent.length || lines.length === 0) lines.push(line);
  return lines;
}
