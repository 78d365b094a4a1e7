import { ignoredNames, oldNames, refusedNames } from "../../recipe/names.ts";
import { fieldOf, methods, namesOf, nearestName } from "../../recipe/recipe.ts";
import { oneLine } from "../../text/show.ts";
import { UsageError } from "../args.ts";
import type { Command } from "../command.ts";
import { fieldHead, fieldHelp, flagHead, wrap } from "./help.ts";

type Commands = Readonly<Record<string, Command>>;

/**
 * The text of `qwench help NAME` for a flag or a recipe field: its text, and the commands that take it.
 *
 * @param spelled the name with or without dashes: `learning_rate`, `--learning-rate`
 * @throws {UsageError} no command has such a flag or field
 */
export function describeName(spelled: string, commands: Commands, width = 100): string {
  const name = spelled.replace(/^--?/, "").replaceAll("-", "_");
  const old = oldNames.find((candidate) => candidate.name === name);
  const parts = [...ofFields(old?.field ?? name, commands), ...ofFlags(name, commands), ...ofKnownNames(name)];
  if (parts.length === 0) throw nothingOf(spelled, name, commands);
  const lines = parts.flatMap(({ head, text, takenBy }) => [
    head,
    ...wrap(text, width, "  "),
    ...(takenBy.length > 0 ? wrap(`Taken by ${takenBy.join(", ")}`, width, "  ") : []),
    "",
  ]);
  const renamed = old ? [...wrap(`${name} is an earlier name of ${old.field}.`, width), ""] : [];
  return [...renamed, ...lines].join("\n");
}

interface Part {
  head: string;
  text: string;
  /** commands that take the flag; none for a name that none takes */
  takenBy: string[];
}

/** A recipe field; methods with the same default and text share a part. */
function ofFields(name: string, commands: Commands): Part[] {
  const parts = new Map<string, Part>();
  for (const method of methods) {
    const field = fieldOf(name, method);
    if (!field) continue;
    const text = fieldHelp(field);
    const part = parts.get(text) ?? { head: fieldHead(field), text, takenBy: [] };
    part.takenBy.push(...Object.keys(commands).filter((command) => commands[command].method === method));
    parts.set(text, part);
  }
  const any = Object.keys(commands).filter((command) => commands[command].method === "any");
  for (const part of parts.values()) part.takenBy.push(...any);
  return [...parts.values()];
}

/** A flag that is no recipe field; commands with the same text share a part. */
function ofFlags(name: string, commands: Commands): Part[] {
  const parts = new Map<string, Part>();
  for (const [command, { flags = [] }] of Object.entries(commands)) {
    const flag = flags.find((candidate) => candidate.name === name || candidate.short === name);
    if (!flag) continue;
    const part = parts.get(flag.help) ?? { head: flagHead(flag), text: flag.help, takenBy: [] };
    part.takenBy.push(command);
    parts.set(flag.help, part);
  }
  return [...parts.values()];
}

/** A name of TRL, PEFT or transformers that is accepted without effect, or rejected, with the reason. */
function ofKnownNames(name: string): Part[] {
  const texts = new Map<string, string[]>();
  for (const method of methods) {
    const ignored = ignoredNames(method);
    const refused = refusedNames(method);
    const text = Object.hasOwn(ignored, name)
      ? `Accepted without effect: ${ignored[name].note}.`
      : Object.hasOwn(refused, name)
        ? `Rejected: ${refused[name]}.`
        : null;
    if (text !== null) texts.set(text, [...(texts.get(text) ?? []), method]);
  }
  return [...texts].map(([text, of]) => ({ head: `--${name} (${of.join(", ")})`, text, takenBy: [] }));
}

function nothingOf(spelled: string, name: string, commands: Commands): UsageError {
  const flags = Object.values(commands).flatMap(({ flags = [] }) => flags.map((flag) => flag.name));
  const near = nearestName(name, [...Object.keys(commands), ...methods.flatMap((method) => namesOf(method)), ...flags]);
  const why = near ? `: did you mean ${near}?` : "";
  return new UsageError(`There is no command, flag or recipe field ${oneLine(spelled, 64)}${why}`);
}
