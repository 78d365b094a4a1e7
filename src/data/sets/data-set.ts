import type { Message } from "../chat-template.ts";
import { type NumberedRow, rowError } from "../rows.ts";

/** A data set's location on the hub. */
interface Home {
  id: string;
  config?: string;
  /** the hub's name of a split, if it differs from the requested one */
  splits?: Readonly<Record<string, string>>;
  /** label of its rows, like the name of a local file */
  part?: string;
}

/** A row of any data set, in common fields. */
export interface Problem {
  /** the question for the model, without a template */
  problem: string;
  /** the expected answer, without working; absent in data sets of programs */
  answer?: string;
  /** the working, without surrounding marks */
  reasoning?: string;
  /** the data set's solution, including reasoning */
  solution?: string;
  /** the program of the fenced block, if the answer is a program */
  code?: string;
  /** unique in its part */
  id: string;
  /** columns kept unchanged: level, subject, tests */
  columns: Readonly<Record<string, unknown>>;
}

/** A data set: its location, and how to read its rows. */
export interface DataSet {
  readonly name: string;
  /** one line: content, size, source */
  readonly about: string;
  readonly homes: readonly Home[];
  readonly task: "maths" | "code";
  /** default template around the question, which replaces {problem} */
  readonly template?: string;
  /** files of a local folder that are all read, for every split */
  readonly whole_folder?: boolean;
  /**
   * Reads a row; null skips it.
   *
   * @param part the file's name without folder and extension, or the part of the hub location
   * @throws {DataError} a row that lacks a column
   */
  read(source: NumberedRow, part: string): Problem | null | Promise<Problem | null>;
}

/** A row for training and evaluation. */
export interface SetRow {
  [column: string]: unknown;
  /** the system message, if requested, and the user's */
  prompt: Message[];
  /** if the data set has solutions */
  completion?: Message[];
  problem: string;
  answer?: string;
  solution?: string;
  /** its part of the data set */
  source_dataset: string;
  original_id: string;
  /** 0, 1, 2, … over all parts */
  global_id: number;
}

/** The text of the first of these columns that the row has. @throws {DataError} the row has none of them */
export function textOf(source: NumberedRow, ...names: string[]): string {
  const found = optionalText(source, ...names);
  if (found === undefined) {
    throw rowError(
      source,
      `has the columns ${Object.keys(source.row).join(", ") || "(none)"}; it needs ${names.join(" or ")}`,
    );
  }
  return found;
}

/** The same, or undefined if the row has none. Numbers become text: an answer of 27.0 is 27. */
export function optionalText({ row }: NumberedRow, ...names: string[]): string | undefined {
  for (const name of names) {
    const value = row[name];
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "bigint") return String(value);
  }
  return undefined;
}

/** The columns of a row except some. */
export function others({ row }: NumberedRow, ...without: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([name, value]) => !without.includes(name) && value !== null));
}
