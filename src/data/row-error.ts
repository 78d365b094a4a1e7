import { DataError } from "../errors.ts";

/** A row and its location, which every error about the row includes. */
export interface NumberedRow {
  row: Record<string, unknown>;
  /** 1-based number in its file: the line of a JSONL file, the data row of any other */
  number: number;
  /** path or URL */
  file: string;
  /** images of the row's messages, in order, if they were opened */
  images?: readonly RowImage[];
}

/** An image of a row: its bytes are elsewhere, under its key. */
export interface RowImage {
  /** of its bytes, in lower-case hex */
  key: string;
  /** frames, rows and columns of patches */
  grid: readonly [number, number, number];
  /** merged patches, each of which takes the place of a token */
  tokens: number;
}

/** The error of one row: `file, row n: what is wrong`. */
export function rowError(source: { file: string; number: number }, what: string): DataError {
  return new DataError(`${source.file}, row ${source.number}: ${what}`);
}
