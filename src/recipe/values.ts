import { RecipeError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { show } from "../text/show.ts";
import type { Field, FieldValue } from "./field.ts";

const decimal = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const yes = /^(true|yes|on|y|t|1)$/i;
const no = /^(false|no|off|n|f|0)$/i;
const none = /^(null|none|~)$/i;

/** A description of the values that a field accepts, written to follow "must be". */
function rule(field: Field): string {
  const parts: string[] = [];
  if (field.type === "integer" || field.type === "number") {
    parts.push(
      field.type === "integer" ? "an integer" : field.ratio ? "a whole number, or a ratio below 1," : "a number",
    );
    const bounds: string[] = [];
    if (field.min !== undefined) bounds.push(`of at least ${field.min}`);
    if (field.above !== undefined) bounds.push(`above ${field.above}`);
    if (field.below !== undefined) bounds.push(`below ${field.below}`);
    if (field.max !== undefined) bounds.push(`at most ${field.max}`);
    if (bounds.length > 0) parts.push(bounds.join(" and "));
    if (field.off !== undefined) parts.push(`or ${field.off}`);
  } else if (field.type === "choice") parts.push(`one of ${field.choices?.join(", ")}`);
  else if (field.type === "boolean") parts.push("true or false");
  else if (field.verbatim) parts.push("one or more texts that are not empty");
  else if (field.type === "list")
    parts.push(
      `a list of ${field.of === "number" ? "numbers" : "names"}${field.byName ? ", or a mapping of names to such lists" : ""}${field.words ? ` or ${field.words.join(" or ")}` : ""}`,
    );
  else if (field.type === "object")
    parts.push(`a mapping of names to values${field.pairs ? ", or text such as momentum=0.95,ns_steps=5" : ""}`);
  else if (field.type === "mappings") parts.push("a list of mappings of names to values");
  else if (field.type === "toggle") parts.push("true, false or a path");
  else parts.push("text that is not empty");
  if (field.nullable) parts.push("or null");
  return parts.join(" ");
}

/**
 * Converts a value from YAML, JSON or a flag to the field's type and checks its bounds.
 *
 * Numbers and booleans may be text: YAML 1.1 writers quote `5e-6`, and flags are always text.
 * @throws {RecipeError} `lora_r must be an integer of at least 1, got 0`
 */
export function readValue(field: Field, given: unknown): FieldValue {
  const refuse = (why = ""): never => {
    throw new RecipeError(`${field.name} must be ${rule(field)}, got ${show(given)}${why}`);
  };
  const spelled = String(given).trim().toLowerCase();
  let value = field.synonyms && Object.hasOwn(field.synonyms, spelled) ? field.synonyms[spelled] : given;
  // a list flag always gives a list, even for `--reward_weights null`
  if (field.type === "list" && Array.isArray(value) && value.length === 1 && none.test(String(value[0]))) value = null;
  const text = typeof value === "string" ? value.trim() : null;
  if (value === null || value === undefined || (field.nullable && text !== null && none.test(text))) {
    return field.nullable ? null : refuse();
  }
  switch (field.type) {
    case "boolean":
      return readBoolean(value) ?? refuse();
    case "toggle":
      return readBoolean(value) ?? (text ? text : refuse());
    case "string":
      // YAML reads a folder name such as 2024 as a number
      if (typeof value === "number") return String(value);
      return text ? (value as string) : refuse();
    case "integer":
    case "number": {
      const number =
        typeof value === "number" ? value : text !== null && decimal.test(text) ? Number(text) : Number.NaN;
      return withinBounds(field, number) ? number : refuse();
    }
    case "choice": {
      // PyYAML and YAML 1.1 read a bare `no` as false
      const choice = value === false && field.choices?.includes("no") ? "no" : onlyText(value);
      if (Array.isArray(value) && value.length > 1) refuse(": only one is possible");
      if (choice === null) return refuse();
      if (field.missing && Object.hasOwn(field.missing, choice)) refuse(`: ${field.missing[choice]}`);
      return field.choices?.includes(choice) ? choice : refuse();
    }
    case "list":
      if (field.byName && (isObject(value) || text?.startsWith("{"))) return readLists(value) ?? refuse();
      return (field.of === "number" ? readNumbers(value) : readNames(field, value, refuse)) ?? refuse();
    case "object":
      return (field.pairs && text && !text.startsWith("{") ? readPairs(text) : readObject(value)) ?? refuse();
    case "mappings":
      return readMappings(value) ?? refuse();
  }
}

/** A text, or the only text of a list: TRL's DPOConfig takes a list of losses. */
function onlyText(value: unknown): string | null {
  const one = Array.isArray(value) && value.length === 1 ? value[0] : value;
  return typeof one === "string" ? one.trim() : null;
}

function readBoolean(value: unknown): boolean | null {
  if (typeof value === "boolean") return value;
  if (typeof value === "string" && yes.test(value.trim())) return true;
  if (typeof value === "string" && no.test(value.trim())) return false;
  return null;
}

function withinBounds(field: Field, value: number): boolean {
  if (!Number.isFinite(value)) return false;
  if (field.off !== undefined && value === field.off) return true;
  if (field.type === "integer" && !Number.isSafeInteger(value)) return false;
  if (field.ratio && value >= 1 && !Number.isSafeInteger(value)) return false;
  if (field.min !== undefined && !(value >= field.min)) return false;
  if (field.above !== undefined && !(value > field.above)) return false;
  if (field.below !== undefined && !(value < field.below)) return false;
  return field.max === undefined || value <= field.max;
}

function readItems(value: unknown): unknown[] | null {
  const items = typeof value === "string" ? value.split(/[\s,]+/).filter((item) => item !== "") : value;
  return Array.isArray(items) && items.length > 0 ? items : null;
}

function readNumbers(value: unknown): number[] | null {
  const items = typeof value === "number" ? [value] : readItems(value);
  const read = items?.map((item) => (typeof item === "string" && decimal.test(item.trim()) ? Number(item) : item));
  return read?.every((item): item is number => typeof item === "number" && Number.isFinite(item)) ? read : null;
}

function readNames(field: Field, value: unknown, refuse: (why: string) => never): FieldValue | null {
  if (field.verbatim) {
    const texts = Array.isArray(value) ? value : [value];
    const fit = texts.length > 0 && texts.every((one) => typeof one === "string" && one !== "");
    return fit ? (texts as string[]) : null;
  }
  const whole = field.pattern && typeof value === "string" && /[*+?()[\]|\\^$]/.test(value);
  const items = whole ? [value] : readItems(value);
  if (!items?.every((item): item is string => typeof item === "string" && item.trim() !== "")) return null;
  if (items.length === 1 && field.words?.includes(items[0])) return items[0];
  // a word among names would be ambiguous
  if (items.some((item) => field.words?.includes(item))) return null;
  const names = items.map((item) => item.trim());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) refuse(`: ${show(twice)} is there twice`);
  return names;
}

/** A mapping of names to lists of numbers. */
function readLists(value: unknown): { [name: string]: readonly number[] } | null {
  const lists = Object.entries(readObject(value) ?? {}).map(([name, list]) => [name, readNumbers(list)] as const);
  return lists.length > 0 && lists.every(([, list]) => list) ? (Object.fromEntries(lists) as never) : null;
}

function readMappings(value: unknown): { [key: string]: unknown }[] | null {
  let list = value;
  if (typeof value === "string") {
    try {
      list = JSON.parse(value);
    } catch {
      return null;
    }
  }
  if (!Array.isArray(list) || list.length === 0 || !list.every(isObject)) return null;
  return list.map((one) => ({ ...one }));
}

/** `a=1, b=two` as a mapping of names to texts. */
function readPairs(text: string): { [key: string]: unknown } | null {
  const pairs = text.split(",").map((pair) => pair.split("=").map((part) => part.trim()));
  return pairs.every((pair) => pair.length === 2 && pair.every((part) => part !== ""))
    ? Object.fromEntries(pairs)
    : null;
}

function readObject(value: unknown): { [key: string]: unknown } | null {
  let object = value;
  if (typeof value === "string") {
    try {
      object = JSON.parse(value);
    } catch {
      return null;
    }
  }
  if (!isObject(object)) return null;
  return { ...object };
}
