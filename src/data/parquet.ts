import { DataError, FormatError, QwenchError, UnsupportedError } from "../errors.ts";
import type { NumberedRow } from "./rows.ts";

/** Undoes one Parquet codec: compressed page in, `length` bytes out. Keys are Parquet's names, such as `ZSTD`. */
export type ParquetDecompressors = Record<string, (input: Uint8Array, length: number) => Uint8Array>;

interface Source {
  readonly name: string;
  readonly size: number;
  read(start: number, end: number): Promise<Uint8Array>;
}

// hyparquet undoes these by itself.
const builtIn = ["UNCOMPRESSED", "SNAPPY"];

/**
 * Rows of a Parquet file, a row group at a time. Integers become numbers, lists and structs plain JSON values.
 *
 * @throws {FormatError} a file that is not Parquet, or is damaged
 * @throws {UnsupportedError} a codec that neither hyparquet nor `decompressors` undoes
 */
export async function* readParquet(
  source: Source,
  limit: number,
  decompressors: ParquetDecompressors = {},
): AsyncGenerator<NumberedRow> {
  // Loaded when first needed: most data sets are JSON.
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  const slice = async (start: number, end: number): Promise<ArrayBuffer> => {
    const last = Math.min(end, source.size);
    if (!(start >= 0 && start <= last)) {
      throw new FormatError(`${source.name} is damaged: it points at bytes [${start}, ${end}) of ${source.size}`);
    }
    return new Uint8Array(await source.read(start, last)).buffer;
  };
  const file = {
    byteLength: source.size,
    slice: (start: number, end?: number): Promise<ArrayBuffer> => {
      const bytes = slice(start, end ?? source.size);
      // hyparquet asks for several ranges ahead and may give up before it awaits them all.
      bytes.catch(() => undefined);
      return bytes;
    },
  };
  const failed = (error: unknown, where: string): QwenchError =>
    error instanceof QwenchError
      ? error
      : new FormatError(`${source.name} ${where}: ${error instanceof Error ? error.message : String(error)}`);

  let metadata: Awaited<ReturnType<typeof parquetMetadataAsync>>;
  try {
    metadata = await parquetMetadataAsync(file);
  } catch (error) {
    throw failed(error, "is not a Parquet file, or is damaged");
  }
  for (const group of metadata.row_groups) {
    for (const { meta_data: column } of group.columns) {
      if (column && !builtIn.includes(column.codec) && !(column.codec in decompressors)) {
        throw new UnsupportedError(
          `${source.name}: column ${column.path_in_schema.join(".")} is compressed with ${column.codec}; ` +
            `${[...builtIn, ...Object.keys(decompressors)].join(", ")} can be read. Write it again with compression="snappy"`,
        );
      }
    }
  }

  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = Math.min(rowStart + Number(group.num_rows), limit);
    if (rowEnd <= rowStart) break;
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors: decompressors });
    } catch (error) {
      throw failed(error, `is damaged in rows ${rowStart + 1} to ${rowEnd}`);
    }
    if (rows.length !== rowEnd - rowStart) {
      throw new DataError(`${source.name} holds ${rows.length} of the ${rowEnd - rowStart} rows after row ${rowStart}`);
    }
    for (const [i, row] of rows.entries()) {
      yield { row: plain(row) as Record<string, unknown>, number: rowStart + i + 1, file: source.name };
    }
    rowStart = rowEnd;
  }
}

/** A decoded value as JSON would hold it. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
