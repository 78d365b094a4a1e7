import { mixRows, parseSlices, type RowSet, rowSet, sliceRows } from "../../data/mixture.ts";
import type { NumberedRow } from "../../data/row-error.ts";
import { RecipeError } from "../../errors.ts";
import { type MixturePart, readMixture } from "../../recipe/mixture.ts";

/** A data set of a mixture, whose split is the part's own or one of its sum. */
export interface PartToOpen extends Omit<MixturePart, "split" | "data_files" | "columns" | "fraction"> {
  split: string;
  /** the patterns of the split's files, or null */
  files: readonly string[] | null;
}

/**
 * The rows of a recipe's `datasets`: slices of splits, mixed by their shares.
 *
 * @param open rows of one split of one data set; called again for each iteration
 * @throws {RecipeError} a part that cannot be read so
 */
export function mixtureOf(
  datasets: readonly Readonly<Record<string, unknown>>[],
  open: (part: PartToOpen) => AsyncIterable<NumberedRow> | Promise<AsyncIterable<NumberedRow>>,
): RowSet {
  const parts = readMixture(datasets).map((part) => {
    const { path, name, data_dir } = part;
    const slices = parseSlices(part.split).map((slice) => {
      const { split } = slice;
      return sliceRows(
        rowSet(() => open({ path, name, data_dir, split, files: filesOf(part, split) })),
        slice,
      );
    });
    const rows = rowSet(async function* () {
      for (const slice of slices) yield* slice;
    });
    return { name: path, rows, columns: part.columns, fraction: part.fraction };
  });
  return mixRows(parts);
}

/** The patterns of a split's files, or null. @throws {RecipeError} data_files have no such split */
function filesOf({ data_files, path }: MixturePart, split: string): readonly string[] | null {
  if (data_files === null) return null;
  // as in the datasets library, files without a split are of the split train
  const bySplit: Readonly<Record<string, readonly string[]>> = Array.isArray(data_files)
    ? { train: data_files }
    : (data_files as Readonly<Record<string, readonly string[]>>);
  if (Object.hasOwn(bySplit, split)) return bySplit[split];
  throw new RecipeError(
    `datasets: data_files of ${path} have no split ${split}, only ${Object.keys(bySplit).join(", ")}`,
  );
}
