import { DataError } from "../errors.ts";
import { oneLine } from "../text/show.ts";
import { type NumberedRow, rowError } from "./row-error.ts";

/** Rows that can be read several times: every iteration begins anew. */
export interface RowSet extends AsyncIterable<NumberedRow> {}

/** Rows that `open` begins to read, again for each iteration. */
export function rowSet(open: () => AsyncIterable<NumberedRow> | Promise<AsyncIterable<NumberedRow>>): RowSet {
  return {
    async *[Symbol.asyncIterator]() {
      yield* await open();
    },
  };
}

/** Rows of one split, or a part of them. A bound with `percent` is a share of the rows. */
interface Slice {
  split: string;
  from: Bound | null;
  to: Bound | null;
}

interface Bound {
  /** negative: counted from the end */
  at: number;
  percent: boolean;
}

const SLICE = /^(\w+(?:[.-]\w+)*)(?:\[(-?[\d_]+%?)?:(-?[\d_]+%?)?\])?$/;

/**
 * The slices of a split as the datasets library writes them: `train`, `train[:100]`, `train[10%:20%]+test`.
 *
 * @throws {DataError} anything else
 */
export function parseSlices(split: string): Slice[] {
  const bound = (text: string | undefined): Bound | null =>
    text === undefined ? null : { at: Number(text.replace(/[_%]/g, "")), percent: text.endsWith("%") };
  return split.split("+").map((part) => {
    const found = SLICE.exec(part.trim());
    if (!found) {
      throw new DataError(
        `Cannot read split ${oneLine(split, 60)}: it must be a name, a slice such as train[:100] or train[10%:20%], or a sum of these with +`,
      );
    }
    return { split: found[1], from: bound(found[2]), to: bound(found[3]) };
  });
}

/** The rows of a slice. Rows are counted first where a bound is a share or counts from the end. */
export function sliceRows(rows: RowSet, { from, to }: Slice): RowSet {
  if (from === null && to === null) return rows;
  return rowSet(async function* () {
    const counts = [from, to].some((bound) => bound && (bound.percent || bound.at < 0));
    const total = counts ? await countRows(rows) : Number.POSITIVE_INFINITY;
    const place = (bound: Bound | null, otherwise: number): number => {
      if (bound === null) return otherwise;
      const at = bound.percent ? roundHalfEven((bound.at * total) / 100) : bound.at;
      return at < 0 ? Math.max(0, total + at) : at;
    };
    yield* between(rows, place(from, 0), place(to, total));
  });
}

/** One data set of a mixture. */
interface MixedRows {
  /** its name in errors */
  name: string;
  rows: RowSet;
  /** columns to keep; null: all */
  columns: readonly string[] | null;
  /** target share of the mixture; null: all rows */
  fraction: number | null;
}

/**
 * The rows of several data sets, one set after the other. With fractions, each gives its first `round(share · N)` rows,
 * where N is the largest size of the mixture for which no set is too small.
 *
 * @throws {DataError} a row lacks one of its `columns`
 * @see TRL's get_dataset
 */
export function mixRows(parts: readonly MixedRows[]): RowSet {
  return rowSet(async function* () {
    const limits = await limitsOf(parts);
    for (const [i, { name, rows, columns }] of parts.entries()) {
      for await (const source of between(rows, 0, limits[i])) {
        yield columns ? { ...source, row: selected(source, columns, name) } : source;
      }
    }
  });
}

/** Rows to take of each part. */
async function limitsOf(parts: readonly MixedRows[]): Promise<number[]> {
  if (parts.every(({ fraction }) => fraction === null)) return parts.map(() => Number.POSITIVE_INFINITY);
  const sum = parts.reduce((total, { fraction }) => total + fraction!, 0);
  const weights = parts.map(({ fraction }) => fraction! / sum);
  let most = Number.POSITIVE_INFINITY;
  for (const [i, { rows }] of parts.entries()) {
    if (weights[i] > 0) most = Math.min(most, (await countRows(rows)) / weights[i]);
  }
  return weights.map((weight) => roundHalfEven(weight * most));
}

function selected(source: NumberedRow, columns: readonly string[], name: string): Record<string, unknown> {
  const missing = columns.find((column) => !Object.hasOwn(source.row, column));
  if (missing !== undefined) {
    throw rowError(
      source,
      `has no column ${oneLine(missing, 40)}, which datasets asks of ${name}; it has ${Object.keys(source.row).join(", ")}`,
    );
  }
  return Object.fromEntries(columns.map((column) => [column, source.row[column]]));
}

async function* between(rows: RowSet, from: number, to: number): AsyncGenerator<NumberedRow> {
  if (to <= from) return;
  let at = 0;
  for await (const row of rows) {
    if (at >= from) yield row;
    if (++at >= to) return;
  }
}

async function countRows(rows: RowSet): Promise<number> {
  let count = 0;
  for await (const _ of rows) count++;
  return count;
}

/** As Python's `round`. */
function roundHalfEven(value: number): number {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}
