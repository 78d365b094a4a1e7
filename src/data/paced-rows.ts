import { AbortError } from "../errors.ts";
import type { NumberedRow } from "./row-error.ts";

/** Rows of a data set, as a source yields them. */
export type RowSource = AsyncIterable<NumberedRow> | Iterable<NumberedRow>;

/** How a long reading is stopped and followed. */
export interface Pacing {
  /** stops between two rows */
  signal?: AbortSignal;
  /** called regularly with the number of rows read */
  onProgress?: (read: number) => void;
}

/**
 * Yields every row. Returns to the event loop every 50 ms, so that a page or Ctrl-C stays responsive.
 *
 * @param what the work on the rows, for the error
 * @throws {AbortError} `signal` fired
 */
export async function* pacedRows(rows: RowSource, what: string, { signal, onProgress }: Pacing) {
  let read = 0;
  let lastPause = Date.now();
  for await (const row of rows) {
    if (signal?.aborted) throw new AbortError(`${what} stopped after ${read} rows`);
    yield row;
    read++;
    if (Date.now() - lastPause > 50) {
      onProgress?.(read);
      await new Promise((resolve) => setTimeout(resolve));
      lastPause = Date.now();
    }
  }
}
