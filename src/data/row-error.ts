import { DataError } from "../errors.ts";

/** A row as it was read, and where it was read: what every error about it says. */
export interface NumberedRow {
  row: Record<string, unknown>;
  /** 1-based number in its file: the line of a JSONL file, the data row of any other */
  number: number;
  /** path or URL */
  file: string;
}

/** The error of one row: `file, row n: what is wrong`. */
export function rowError(source: { file: string; number: number }, what: string): DataError {
  return new DataError(`${source.file}, row ${source.number}: ${what}`);
}

/** What a value is, in a few words. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return `an object with ${Object.keys(value).slice(0, 5).join(", ") || "no keys"}`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return `${typeof value} ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
}
