import { DataError } from "../errors.ts";
import type { RowSource } from "./paced-rows.ts";
import type { NumberedRow } from "./row-error.ts";
import { epochOrder } from "./sampler.ts";

/**
 * Splits rows into two parts, each in the original order. The split depends on the seed and the number of rows.
 *
 * @param size a value below 1 is a share of the rows, else a number of rows
 * @throws {DataError} a side would be empty
 */
export async function splitRows(
  rows: RowSource,
  size: number,
  seed: number,
): Promise<{ train: NumberedRow[]; held: NumberedRow[] }> {
  const all: NumberedRow[] = [];
  for await (const row of rows) all.push(row);
  const count = size < 1 ? Math.ceil(all.length * size) : Math.floor(size);
  if (count < 1 || count >= all.length) {
    throw new DataError(
      `Cannot keep test_split_size ${size} of ${all.length} rows for evaluation: ${count} would be kept and ${all.length - count} trained on`,
    );
  }
  const kept = new Set(epochOrder(all.length, 0, seed).subarray(0, count));
  return { train: all.filter((_, i) => !kept.has(i)), held: all.filter((_, i) => kept.has(i)) };
}
