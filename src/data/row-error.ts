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
