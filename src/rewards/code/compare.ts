import { isObject } from "../../text/json.ts";
import { counted } from "../../text/numbers.ts";
import { show } from "../../text/show.ts";
import { decimalKey } from "../decimal.ts";

/** White space of Python's str.strip and str.split. */
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const EDGES = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");
const GAPS = new RegExp(`[${SPACE}]+`);

const strip = (text: string) => text.replace(EDGES, "");

/**
 * Whether a program printed the expected text, by LiveCodeBench's rules. Both texts are stripped and split into lines;
 * the numbers of lines must be equal. Each pair of stripped lines must be the same text or the same decimal numbers
 * (1.50 is 1.5).
 *
 * @returns null if it did, else the difference
 * @see grade_stdio in lcb_runner/evaluation/testing_util.py, github.com/LiveCodeBench/LiveCodeBench
 */
export function outputFault(printed: string, expected: string): string | null {
  const [ours, theirs] = [printed, expected].map((text) => strip(text).split("\n").map(strip));
  if (ours.length !== theirs.length)
    return `it printed ${counted(ours.length, "line")}, not ${counted(theirs.length, "line")}`;
  const odd = ours.findIndex((line, i) => line !== theirs[i] && !sameDecimals(line, theirs[i]));
  return odd < 0 ? null : `line ${odd + 1} of the output is ${show(ours[odd])}, not ${show(theirs[odd])}`;
}

function sameDecimals(a: string, b: string): boolean {
  const [ours, theirs] = [a, b].map((line) => line.split(GAPS).map(decimalKey));
  return ours.length === theirs.length && ours.every((key, i) => key !== null && key === theirs[i]);
}

/** A Python value in the sandbox's encoding: exact numbers; values that JSON does not have are tagged. */
export type ToldValue =
  | null
  | boolean
  | string
  | ToldValue[]
  | { int: string }
  | { float: string }
  | { dict: [string, ToldValue][] }
  | { other: string };

const DEPTH = 1000;
const MARK = "\u0000"; // marks a number of the JSON text, because JSON.parse would round it

/**
 * Whether a call returned the expected value: Python's `==` between the value (tuples as lists) and the JSON text.
 *
 * @see grade_call_based in lcb_runner/evaluation/testing_util.py
 * @throws {SyntaxError} text that is not JSON, even with Python's NaN and Infinity
 */
export function equalsJson(value: ToldValue, json: string): boolean {
  const exact = json.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs, (token) => {
    if (token[0] !== '"') return JSON.stringify(MARK + token);
    return token.startsWith('"\\u0000') ? `"\\u0000s${token.slice(1)}` : token;
  });
  return same(value, JSON.parse(exact), 0);
}

function same(value: ToldValue, wanted: unknown, depth: number): boolean {
  if (depth > DEPTH) return false;
  if (typeof wanted === "string" && wanted[0] === MARK && wanted[1] !== "s") {
    const number = typeof value === "boolean" ? BigInt(value) : numberOf(value);
    return number !== null && sameNumber(number, parseNumber(wanted.slice(1)));
  }
  if (typeof wanted === "string") return value === (wanted[0] === MARK ? wanted.slice(2) : wanted);
  if (typeof wanted === "boolean") {
    const number = typeof value === "boolean" ? BigInt(value) : numberOf(value);
    return number !== null && sameNumber(number, BigInt(wanted));
  }
  if (wanted === null) return value === null;
  if (Array.isArray(wanted)) {
    if (!Array.isArray(value) || value.length !== wanted.length) return false;
    return value.every((item, i) => same(item, wanted[i], depth + 1));
  }
  if (typeof value !== "object" || value === null || !("dict" in value)) return false;
  const entries = new Map(Object.entries(wanted as object));
  return (
    value.dict.length === entries.size &&
    value.dict.every(([key, item]) => entries.has(key) && same(item, entries.get(key), depth + 1))
  );
}

function numberOf(value: ToldValue): bigint | number | null {
  if (!isObject(value)) return null;
  if ("int" in value) return value.int.startsWith("-") ? -BigInt(value.int.slice(1)) : BigInt(value.int);
  return "float" in value ? floatOf(value.float) : null;
}

function parseNumber(text: string): bigint | number {
  return /^-?\d+$/.test(text) ? BigInt(text) : floatOf(text);
}

/** Includes Python's spellings of NaN and infinity. */
function floatOf(text: string): number {
  return /inf/i.test(text) ? (text[0] === "-" ? -Infinity : Infinity) : Number(text);
}

function sameNumber(a: bigint | number, b: bigint | number): boolean {
  if (typeof a === typeof b) return a === b;
  const [float, int] = typeof a === "number" ? [a, b as bigint] : [b as number, a];
  return Number.isInteger(float) && BigInt(float) === int;
}
