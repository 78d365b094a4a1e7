import { DataError } from "../errors.ts";

/** A row and its location, which every error about the row includes. */
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
