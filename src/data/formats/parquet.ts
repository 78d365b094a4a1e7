import { DataError, FormatError, QwenchError, UnsupportedError } from "../../errors.ts";
import { markFloat, parsePythonJson } from "../../text/python-json.ts";
import { messageOf } from "../../text/show.ts";
import type { NumberedRow } from "../rows.ts";
import { type ParquetDecompressors, parquetDecompressors } from "./parquet-codecs.ts";
import { checkPages, type Leaf } from "./parquet-pages.ts";

interface Source {
  readonly name: string;
  readonly size: number;
  read(start: number, end: number): Promise<Uint8Array>;
}

// Most rows of one row group; writers create 1 000 to 1 000 000.
const maxRows = 1n << 26n;

/** Values of a column that a row group may have, however few its bytes; above this, at most 64 per byte. */
const leastMostValues = 1 << 21;
/** Most columns, lists and structs of a schema. */
const mostElements = 10_000;

/**
 * Rows of a Parquet file, one row group at a time. Integers become numbers, or bigints beyond 2^53; lists and structs
 * become plain JSON values. Footer and pages are checked before decoding.
 *
 * @throws {FormatError} a file that is not Parquet, or is damaged
 * @throws {UnsupportedError} the codec LZO
 */
export async function* readParquet(source: Source, limit: number): AsyncGenerator<NumberedRow> {
  // Loaded on first use: most data sets are JSON.
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  const slice = async (start: number, end: number): Promise<ArrayBuffer> => {
    const last = Math.min(end, source.size);
    if (!(start >= 0 && start <= last)) {
      throw new FormatError(`${source.name} is damaged: it refers to bytes [${start}, ${end}) of ${source.size}`);
    }
    return new Uint8Array(await source.read(start, last)).buffer;
  };
  const file = {
    byteLength: source.size,
    slice: (start: number, end?: number): Promise<ArrayBuffer> => {
      const bytes = slice(start, end ?? source.size);
      // hyparquet requests several ranges ahead and may fail before it awaits them all.
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
  const leaves = checkMetadata(source, metadata);
  const decompressors = await parquetDecompressors();
  for (const group of metadata.row_groups) {
    for (const { meta_data: column } of group.columns) {
      if (column && !(column.codec in decompressors)) {
        throw new UnsupportedError(
          `${source.name}: column ${column.path_in_schema.join(".")} is compressed with ${column.codec}; ` +
            `supported codecs are ${Object.keys(decompressors).join(", ")}. Write the file again with compression="zstd"`,
        );
      }
    }
  }
  const floats = floatTree(metadata.schema);
  const binary = metadata.schema.some(isBytes);

  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = Math.min(rowStart + Number(group.num_rows), limit);
    if (rowEnd <= rowStart) break;
    let rows: Record<string, unknown>[];
    try {
      for (const [c, { meta_data }] of group.columns.entries()) {
        await checkColumn(slice, leaves[c], meta_data!, decompressors);
      }
      rows = await parquetReadObjects({
        file,
        metadata,
        rowStart,
        rowEnd,
        compressors: decompressors,
        geoparquet: false,
        utf8: !binary,
        parsers: { jsonFromBytes: (bytes: Uint8Array | undefined) => bytes && parsePythonJson(utf8.decode(bytes)) },
      });
    } catch (error) {
      throw failed(error, `is damaged in rows ${rowStart + 1} to ${rowEnd}`);
    }
    if (rows.length !== rowEnd - rowStart) {
      throw new DataError(`${source.name} has ${rows.length} of the ${rowEnd - rowStart} rows after row ${rowStart}`);
    }
    for (const [i, row] of rows.entries()) {
      const read = binary ? (texts(row) as Record<string, unknown>) : row;
      yield { row: plain(read, floats) as Record<string, unknown>, number: rowStart + i + 1, file: source.name };
    }
    rowStart = rowEnd;
  }
}

/** A column of `datasets`' images and audio: a struct's `bytes`, which are no text. */
function isBytes(element: { name: string; type?: string; converted_type?: unknown; logical_type?: unknown }): boolean {
  return element.name === "bytes" && element.type === "BYTE_ARRAY" && !element.converted_type && !element.logical_type;
}

/** Bytes that stay as they are. */
class Binary {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** Binary values that are not in a field `bytes`, as text. */
function texts(value: unknown): unknown {
  if (value instanceof Uint8Array) return utf8.decode(value);
  if (Array.isArray(value)) return value.map(texts);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === "bytes" && inner instanceof Uint8Array ? new Binary(inner) : texts(inner),
    ]),
  );
}

interface ColumnData {
  codec: string;
  path_in_schema: string[];
  num_values: bigint;
  total_compressed_size: bigint;
  data_page_offset: bigint;
  dictionary_page_offset?: bigint;
}

/** The parts of hyparquet's FileMetaData that its decoder trusts. */
interface Metadata {
  schema: { name: string; type?: string; type_length?: number; repetition_type?: string; num_children?: number }[];
  row_groups: {
    num_rows: bigint;
    columns: { file_path?: string; meta_data?: ColumnData }[];
  }[];
}

/**
 * Checks the file's metadata for consistency: hyparquet trusts it, and would loop forever on a schema with a negative
 * number of children, or allocate memory for rows that the file cannot hold.
 *
 * @throws {FormatError}
 */
function checkMetadata(source: Source, { schema, row_groups }: Metadata): Leaf[] {
  const require = (holds: boolean, what: string): void => {
    if (!holds) throw new FormatError(`${source.name} is damaged: ${what}`);
  };
  require(schema.length <=
    mostElements, `its schema has ${schema.length} elements; at most ${mostElements} are supported`);
  const leaves: Leaf[] = [];
  let next = 0;
  const visit = (path: string[], definition: number, repetition: number): void => {
    require(next < schema.length && path.length < 64, `its schema of ${schema.length} elements declares more children`);
    const { name, type = "", type_length = 0, repetition_type, num_children = 0 } = schema[next++]!;
    require(typeof name === "string", "a column has no name");
    const root = next === 1;
    const inner = root ? path : [...path, name];
    const maxDefinition = definition + (root || repetition_type === "REQUIRED" ? 0 : 1);
    const maxRepetition = repetition + (!root && repetition_type === "REPEATED" ? 1 : 0);
    require(Number.isInteger(num_children) && num_children >= 0, `schema element ${name} has ${num_children} children`);
    if (num_children === 0) {
      leaves.push({ path: inner.join("."), type, typeLength: type_length, maxDefinition, maxRepetition });
    }
    for (let i = 0; i < num_children; i++) visit(inner, maxDefinition, maxRepetition);
  };
  visit([], 0, 0);
  require(next === schema.length, `its schema has ${schema.length} elements, but its root leads to ${next}`);

  for (const [i, { num_rows, columns }] of row_groups.entries()) {
    const where = `row group ${i + 1}`;
    require(num_rows >= 0n && num_rows <= maxRows, `${where} has ${num_rows} rows`);
    // a damaged file has something else in the place of a column's description
    const paths = columns.map((column) => column.meta_data?.path_in_schema?.join("."));
    require(paths.length === leaves.length &&
      paths.every(
        (path, c) => path === leaves[c].path,
      ), `${where} has the columns ${paths.join(", ")}, but the schema has ${leaves.map(({ path }) => path).join(", ")}`);
    for (const [c, { file_path, meta_data: column }] of columns.entries()) {
      require(file_path === undefined, `column ${paths[c]} is in another file, ${file_path}`);
      const { codec, num_values, total_compressed_size, data_page_offset, dictionary_page_offset } = column!;
      require(codec !== undefined, `column ${paths[c]} of ${where} names no compression`);
      const most = Math.max(leastMostValues, 64 * Number(total_compressed_size));
      require(num_values >= num_rows &&
        num_values <= most, `column ${paths[c]} of ${where} has ${num_values} values for ${num_rows} rows`);
      require(data_page_offset > 0n &&
        (dictionary_page_offset ?? 0n) >= 0n, `column ${paths[c]} of ${where} begins at ${data_page_offset}`);
      require(total_compressed_size >= 0n &&
        total_compressed_size <=
          BigInt(
            source.size,
          ), `column ${paths[c]} of ${where} takes ${total_compressed_size} of the file's ${source.size} bytes`);
    }
  }
  return leaves;
}

/** Checks the pages of one column before decoding. */
async function checkColumn(
  slice: (start: number, end: number) => Promise<ArrayBuffer>,
  leaf: Leaf,
  column: ColumnData,
  decompressors: ParquetDecompressors,
): Promise<void> {
  const { data_page_offset, dictionary_page_offset, total_compressed_size: size } = column;
  const first = dictionary_page_offset || data_page_offset;
  const chunk = new Uint8Array(await slice(Number(first), Number(first + size)));
  try {
    checkPages(chunk, leaf, Number(column.num_values), decompressors[column.codec]);
  } catch (error) {
    throw new Error(`column ${leaf.path}: ${messageOf(error)}`);
  }
}

/** Which leaves under a schema element are floats: all, none, or by name. */
type Floats = boolean | Map<string, Floats>;

/** Keeps whole numbers of a float column as floats: Python does too, and a chat template prints them so. */
function floatTree(schema: Metadata["schema"]): Floats {
  let next = 0;
  const visit = (): Floats => {
    const { type, num_children = 0 } = schema[next++]!;
    if (num_children === 0) return type === "DOUBLE" || type === "FLOAT";
    const children = new Map<string, Floats>();
    for (let i = 0; i < num_children; i++) {
      const { name } = schema[next]!;
      children.set(name, visit());
    }
    const kinds = [...children.values()];
    if (kinds.every((kind) => kind === false)) return false;
    return kinds.every((kind) => kind === true) ? true : children;
  };
  return visit();
}

const utf8 = new TextDecoder();

/** A decoded value as a JSON value. */
function plain(value: unknown, floats: Floats): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Binary) return value.bytes;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    const inner = elementOf(floats);
    const items = Array.from(value as unknown as ArrayLike<unknown>, (item) => plain(item, inner));
    if (inner === true) {
      for (const [i, item] of items.entries()) if (Number.isInteger(item)) markFloat(items, i);
    }
    return items;
  }
  const entries = Object.entries(value).map(([key, item]) => {
    const inner = floats instanceof Map ? (floats.get(key) ?? elementOf(floats)) : floats;
    return [key, plain(item, inner), inner] as const;
  });
  const made = Object.fromEntries(entries);
  for (const [key, item, inner] of entries) if (inner === true && Number.isInteger(item)) markFloat(made, key);
  return made;
}

/** The element of a list: Parquet wraps it in groups of one child, under any name. */
function elementOf(floats: Floats): Floats {
  let inner = floats;
  while (inner instanceof Map && inner.size === 1) inner = [...inner.values()][0]!;
  return inner;
}
