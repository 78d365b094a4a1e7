import { DataError, FormatError, QwenchError, UnsupportedError } from "../../errors.ts";
import { messageOf } from "../../text/show.ts";
import type { NumberedRow } from "../rows.ts";

/** Undoes one Parquet codec: compressed page in, `length` bytes out. Keys are Parquet's names, such as `ZSTD`. */
export type ParquetDecompressors = Record<string, (input: Uint8Array, length: number) => Uint8Array>;

interface Source {
  readonly name: string;
  readonly size: number;
  read(start: number, end: number): Promise<Uint8Array>;
}

// Rows of one row group; writers make 1 000 to 1 000 000.
const maxRows = 1n << 26n;

// hyparquet undoes these by itself.
const builtIn = ["UNCOMPRESSED", "SNAPPY"];

/**
 * Rows of a Parquet file, a row group at a time. Integers become numbers, lists and structs plain JSON values.
 *
 * The footer is checked before anything is decoded. Pages are hyparquet's: one forged or damaged inside, in a file
 * of the right length, may keep it busy for long, and only ending the thread stops that.
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
    error instanceof QwenchError ? error : new FormatError(`${source.name} ${where}: ${messageOf(error)}`);

  let metadata: Awaited<ReturnType<typeof parquetMetadataAsync>>;
  try {
    metadata = await parquetMetadataAsync(file, { geoparquet: false });
  } catch (error) {
    throw failed(error, "is not a Parquet file, or is damaged");
  }
  checkMetadata(source, metadata);
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
      rows = await parquetReadObjects({
        file,
        metadata,
        rowStart,
        rowEnd,
        compressors: decompressors,
        geoparquet: false,
      });
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

/** The parts of hyparquet's FileMetaData that its decoder trusts. */
interface Metadata {
  schema: { name: string; num_children?: number }[];
  row_groups: {
    num_rows: bigint;
    columns: {
      file_path?: string;
      meta_data?: { path_in_schema: string[]; num_values: bigint; total_compressed_size: bigint };
    }[];
  }[];
}

/**
 * Holds the file's own description against itself: hyparquet believes it, and would loop for ever on a schema with a
 * negative number of children, or reserve memory for rows that the file cannot hold.
 *
 * @throws {FormatError}
 */
function checkMetadata(source: Source, { schema, row_groups }: Metadata): void {
  const require = (holds: boolean, what: string): void => {
    if (!holds) throw new FormatError(`${source.name} is damaged: ${what}`);
  };
  const leaves: string[] = [];
  let next = 0;
  const visit = (path: string[]): void => {
    require(next < schema.length && path.length < 64, `its schema of ${schema.length} elements names more children`);
    const { name, num_children = 0 } = schema[next++]!;
    require(typeof name === "string", "a column has no name");
    const inner = next === 1 ? path : [...path, name];
    require(Number.isInteger(num_children) && num_children >= 0, `schema element ${name} has ${num_children} children`);
    if (num_children === 0) leaves.push(inner.join("."));
    for (let i = 0; i < num_children; i++) visit(inner);
  };
  visit([]);
  require(next === schema.length, `its schema has ${schema.length} elements, and its root leads to ${next}`);

  for (const [i, { num_rows, columns }] of row_groups.entries()) {
    const where = `row group ${i + 1}`;
    require(num_rows >= 0n && num_rows <= maxRows, `${where} has ${num_rows} rows`);
    const paths = columns.map((column) => column.meta_data?.path_in_schema.join("."));
    require(paths.length === leaves.length &&
      paths.every(
        (path, c) => path === leaves[c],
      ), `${where} has the columns ${paths.join(", ")}, and the schema ${leaves.join(", ")}`);
    for (const [c, { file_path, meta_data: column }] of columns.entries()) {
      require(file_path === undefined, `column ${paths[c]} is in another file, ${file_path}`);
      const { num_values, total_compressed_size } = column!;
      require(num_values >= num_rows &&
        num_values <= maxRows * 4096n, `column ${paths[c]} of ${where} has ${num_values} values for ${num_rows} rows`);
      require(total_compressed_size >= 0n &&
        total_compressed_size <=
          BigInt(
            source.size,
          ), `column ${paths[c]} of ${where} takes ${total_compressed_size} of the file's ${source.size} bytes`);
    }
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
