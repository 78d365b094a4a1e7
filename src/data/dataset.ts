import { DataError, FormatError, QwenchError, UnsupportedError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { parsePythonJson } from "../text/python-json.ts";
import { messageOf, oneLine } from "../text/show.ts";
import { parseCsv } from "./formats/csv.ts";
import { jsonElements } from "./formats/json-array.ts";
import { readParquet } from "./formats/parquet.ts";
import type { NumberedRow } from "./rows.ts";

/** Stored bytes that can be read by range. */
export interface ByteSource {
  /** path or URL; the file extension selects the format */
  readonly name: string;
  /** bytes */
  readonly size: number;
  /** Bytes `[start, end)`. */
  read(start: number, end: number): Promise<Uint8Array>;
}

export interface ReadOptions {
  /** stop after this many rows */
  limit?: number;
}

/** Bytes per read. */
const chunkBytes = 1 << 20;
/** Most characters of one row: a longer row means that the file has another format. */
const maxRow = 64 * 1024 * 1024;
/** Most white space before a JSON file's first character. */
const maxBlank = 1024 * 1024;
/** Unpacked bytes that every gzip file may have, and the ratio allowed beyond; text compresses 3 to 30 times. */
const freelyUnpacked = 16 * 1024 * 1024;
const maxRatio = 400;

type Format = "jsonl" | "json" | "csv" | "tsv" | "parquet";

const formats: Record<string, Format> = {
  jsonl: "jsonl",
  ndjson: "jsonl",
  json: "json",
  csv: "csv",
  tsv: "tsv",
  parquet: "parquet",
};

/**
 * Rows of a data file, in order: JSON Lines, a JSON array, CSV or TSV with a header line (each also gzipped), Parquet.
 * The file extension selects the format; if it is unknown, the first bytes do. Text is read and decoded on demand, one
 * row at a time. Numbers are parsed as in Python: see `parsePythonJson`.
 *
 * @returns rows with their number: the line of a JSONL file, else the data row, from 1
 * @throws {DataError} a line or row that cannot be read, with the file's name and its number
 * @throws {FormatError} a file that is not valid Parquet, gzip or UTF-8
 * @throws {UnsupportedError} another kind of file, or Parquet's codec LZO
 */
export async function* readRows(source: ByteSource, options: ReadOptions = {}): AsyncGenerator<NumberedRow> {
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  if (limit <= 0) return;
  const { format, gzip } = await detect(source);
  if (format === "parquet") {
    yield* readParquet(source, limit);
    return;
  }
  const text = decodeText(source, gzip ? gunzip(source) : chunks(source));
  const rows =
    format === "jsonl"
      ? readLines(source.name, text)
      : format === "json"
        ? readJson(source.name, text)
        : parseCsv(source.name, text, format === "tsv" ? "\t" : ",");
  let count = 0;
  for await (const row of rows) {
    yield row;
    if (++count >= limit) return;
  }
}

async function detect(source: ByteSource): Promise<{ format: Format; gzip: boolean }> {
  const path = source.name.replace(/[?#].*$/, "").toLowerCase();
  const head = await source.read(0, Math.min(source.size, 64));
  const gzip = head[0] === 0x1f && head[1] === 0x8b;
  if (path.endsWith(".gz") && !gzip)
    throw new FormatError(`${source.name} is not a gzip file: it begins with ${hex(head)}`);
  const ending = path.replace(/\.gz$/, "").match(/\.([a-z0-9]+)$/)?.[1] ?? "";
  const named = formats[ending];
  if (named === "parquet" && gzip)
    throw new UnsupportedError(`${source.name} is a gzipped Parquet file; unpack it first`);
  if (named) return { format: named, gzip };
  const first = new TextDecoder().decode(head).replace(/^\ufeff?\s+/, "");
  if (first.startsWith("PAR1")) return { format: "parquet", gzip: false };
  if (!gzip && first.startsWith("[")) return { format: "json", gzip };
  if (!gzip && first.startsWith("{")) return { format: "jsonl", gzip };
  const known = Object.keys(formats).map((name) => `.${name}`);
  throw new UnsupportedError(
    `Cannot read rows from ${source.name}: its name must end with ${known.join(", ")}, optionally followed by .gz`,
  );
}

async function* chunks(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < source.size; start += chunkBytes) {
    const end = Math.min(start + chunkBytes, source.size);
    const bytes = await source.read(start, end);
    if (bytes.length !== end - start) {
      throw new FormatError(`${source.name} ended early: ${bytes.length} of the ${end - start} bytes at ${start}`);
    }
    yield bytes;
  }
}

async function* gunzip(source: ByteSource): AsyncGenerator<Uint8Array> {
  const input = chunks(source);
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = await input.next();
      if (next.done) controller.close();
      else controller.enqueue(new Uint8Array(next.value));
    },
    async cancel() {
      await input.return(undefined);
    },
  });
  const reader = stream.pipeThrough(new DecompressionStream("gzip")).getReader();
  const most = Math.max(freelyUnpacked, maxRatio * source.size);
  let unpacked = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      unpacked += value.length;
      if (unpacked > most) {
        throw new FormatError(
          `${source.name} unpacks to more than ${most} bytes, ${maxRatio} times its size: that is not text. Unpack it first`,
        );
      }
      yield value;
    }
  } catch (error) {
    if (error instanceof QwenchError) throw error;
    throw new FormatError(`${source.name} is damaged or incomplete (gzip): ${messageOf(error)}`);
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** UTF-8 text of `bytes`, without its byte order mark. */
async function* decodeText(source: ByteSource, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const decode = (chunk?: Uint8Array): string => {
    try {
      return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode();
    } catch {
      throw new FormatError(`${source.name} is not UTF-8 text`);
    }
  };
  for await (const chunk of bytes) yield decode(chunk);
  yield decode();
}

async function* readLines(file: string, text: AsyncIterable<string>): AsyncGenerator<NumberedRow> {
  let number = 0;
  let pending: string[] = [];
  let pendingLength = 0;
  const take = (line: string): NumberedRow | null => {
    number++;
    if (line.trim() === "") return null;
    return { row: parseRowJson(file, `line ${number}`, line), number, file };
  };
  for await (const piece of text) {
    let start = 0;
    for (let end = piece.indexOf("\n"); end >= 0; end = piece.indexOf("\n", start)) {
      pending.push(piece.slice(start, end));
      const row = take(pending.join(""));
      pending = [];
      pendingLength = 0;
      start = end + 1;
      if (row) yield row;
    }
    if (start < piece.length) {
      pending.push(piece.slice(start));
      pendingLength += piece.length - start;
      if (pendingLength > maxRow) throw new DataError(`${file}, line ${number + 1} has more than ${maxRow} characters`);
    }
  }
  const last = take(pending.join(""));
  if (last) yield last;
}

function parseRowJson(file: string, where: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parsePythonJson(text);
  } catch (error) {
    throw new DataError(`${file}, ${where} is not JSON (${messageOf(error)}): ${oneLine(text.trim(), 60)}`);
  }
  return asRow(file, where, value);
}

function asRow(file: string, where: string, value: unknown): Record<string, unknown> {
  if (!isObject(value)) {
    const kind = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
    throw new DataError(`${file}, ${where} must be a JSON object with named fields, not ${kind}`);
  }
  return value as Record<string, unknown>;
}

/** A `.json` file: an array of rows, or JSON Lines, which Hugging Face data sets often store under that extension. */
async function* readJson(file: string, text: AsyncIterable<string>): AsyncGenerator<NumberedRow> {
  const iterator = text[Symbol.asyncIterator]();
  let blank = 0;
  let head = "";
  while (head === "") {
    const next = await iterator.next();
    if (next.done) break;
    head = next.value.trimStart();
    blank += next.value.length - head.length;
    if (blank > maxBlank) throw new DataError(`${file} begins with more than ${maxBlank} blank characters`);
  }
  const rest = (async function* () {
    yield head;
    for (let more = await iterator.next(); !more.done; more = await iterator.next()) yield more.value;
  })();
  if (!head.startsWith("[")) {
    yield* readLines(file, rest);
    return;
  }
  let number = 0;
  for await (const element of jsonElements(file, rest, maxRow)) {
    number++;
    yield { row: parseRowJson(file, `row ${number}`, element), number, file };
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 4), (b) => b.toString(16).padStart(2, "0")).join(" ") || "(empty)";
}
