import type { Message } from "../chat-template.ts";
import { type NumberedRow, rowError } from "../rows.ts";

/** Where a data set lies on the hub. */
interface Home {
  id: string;
  config?: string;
  /** the hub's name of a split, where it has another than the one asked for */
  splits?: Readonly<Record<string, string>>;
  /** what its rows are marked with, as if they lay in a file of that name */
  part?: string;
}

/** What a row of any data set comes to, whatever its columns were called. */
export interface Problem {
  /** the question as the model is to read it, without a template around */
  problem: string;
  /** the expected answer, without working; data sets of programs have none */
  answer?: string;
  /** how the answer was reached, without the marks around it */
  reasoning?: string;
  /** the solution as the data set has it, reasoning and all */
  solution?: string;
  /** what a fenced block is made of where the answer is a program */
  code?: string;
  /** unlike any other row's of the same part */
  id: string;
  /** columns that are kept as they are: level, subject, tests */
  columns: Readonly<Record<string, unknown>>;
}

/** A data set: where it lies and how its rows are read. */
export interface DataSet {
  readonly name: string;
  /** one line: what it is, how large, whose */
  readonly about: string;
  readonly homes: readonly Home[];
  readonly task: "maths" | "code";
  /** what is put around the question where nothing else is asked for; {problem} stands for it */
  readonly template?: string;
  /** files of a local folder that are all read, whatever the split */
  readonly whole_folder?: boolean;
  /**
   * Reads a row; null leaves it out.
   *
   * @param part the file's name without folder and ending, or the home's part
   * @throws {DataError} a row that lacks a column
   */
  read(source: NumberedRow, part: string): Problem | null | Promise<Problem | null>;
}

/** A row as training and evaluation take it. */
export interface SetRow {
  [column: string]: unknown;
  /** the system's message where one was asked for, and the user's */
  prompt: Message[];
  /** where the data set has solutions */
  completion?: Message[];
  problem: string;
  answer?: string;
  solution?: string;
  /** the part of the data set that it is from */
  source_dataset: string;
  original_id: string;
  /** 0, 1, 2, … over all parts */
  global_id: number;
}

/** The text of the first of several columns that the row has. @throws {DataError} where it has none of them */
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

/** The same, undefined where there is none. Numbers become text: an answer of 27.0 is 27. */
export function optionalText({ row }: NumberedRow, ...names: string[]): string | undefined {
  for (const name of names) {
    const value = row[name];
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "bigint") return String(value);
  }
  return undefined;
}

/** The columns of a row but for some. */
export function others({ row }: NumberedRow, ...without: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([name, value]) => !without.includes(name) && value !== null));
}
