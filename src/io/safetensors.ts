import { FormatError, NotFoundError } from "../errors.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { isObject } from "../text/json.ts";
import { notData } from "../text/not-data.ts";
import { oneLine, show } from "../text/show.ts";
import { DTYPE_BYTES, type Dtype, isDtype } from "./dtype.ts";
import type { ByteSource } from "./storage.ts";

export * from "./dtype.ts";

/** Hugging Face's own limit on the header, bytes. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_RANK = 32;

/** A tensor's place in a file. `begin` and `end` are absolute byte offsets into `source`. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
  readonly source: ByteSource;
}

/** A safetensors file whose header has been checked; tensor bytes are read on demand. */
export interface SafetensorsFile {
  readonly source: ByteSource;
  /** by name, in the order of the file */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** the header's `__metadata__` */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * Reads a tensor, or bytes `[startByte, endByte)` of it.
   * @throws {NotFoundError} when the file has no such tensor
   */
  read(name: string, startByte?: number, endByte?: number): Promise<Uint8Array>;
}

/** One tensor to write: `data` is its little-endian bytes, as one array or streamed. */
export interface TensorData {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  data: Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * Opens a safetensors file: reads and checks only the header.
 *
 * The header must be JSON of at most 100 MB inside the file; the tensors must have known dtypes and shapes whose
 * sizes match their offsets, and must cover the rest of the file without holes or overlaps. Lengths are compared with
 * the file size before memory is allocated.
 *
 * @throws {FormatError} naming the file, the tensor and the numbers
 * @see https://github.com/huggingface/safetensors#format
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const fail = (why: string): never => {
    throw new FormatError(`Cannot read ${source.name} as safetensors: ${why}`);
  };
  const kind = notData(await source.read(0, Math.min(source.size, 512)));
  if (kind) fail(`it is ${kind}. Fetch the file itself, for example with git lfs pull`);
  if (source.size < 8) fail(`it has ${source.size} bytes, but the header's length alone needs 8`);
  const prefix = await source.read(0, 8);
  const claimed = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (claimed > BigInt(MAX_HEADER_BYTES))
    fail(`its header claims ${claimed} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  const length = Number(claimed);
  if (length > source.size - 8) {
    fail(`its header claims ${length} bytes, but ${source.size - 8} follow the length: the file is incomplete`);
  }
  const header = parseHeader(await source.read(8, 8 + length), fail);
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  const start = 8 + length;
  const tensors = entries
    .map(([name, value]) => parseEntry(name, value, start, source, fail))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(tensors, start, source, fail);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return {
    source,
    tensors: byName,
    metadata: parseMetadata(header, fail),
    async read(name, startByte, endByte) {
      const entry = byName.get(name);
      if (!entry) throw new NotFoundError(`Cannot read the tensor ${name}: ${source.name} has no such tensor`);
      return readEntry(entry, startByte, endByte);
    },
  };
}

/**
 * Reads a tensor, or bytes `[startByte, endByte)` counted from its beginning.
 *
 * @throws {FormatError} for a range outside the tensor
 */
export function readEntry(entry: TensorEntry, startByte = 0, endByte?: number): Promise<Uint8Array> {
  const size = entry.end - entry.begin;
  const end = endByte ?? size;
  const whole = Number.isSafeInteger(startByte) && Number.isSafeInteger(end);
  if (!whole || startByte < 0 || end < startByte || end > size) {
    throw new FormatError(
      `Cannot read bytes ${startByte} to ${end} of the tensor ${entry.name} in ${entry.source.name}: it has ${size} bytes`,
    );
  }
  return entry.source.read(entry.begin + startByte, entry.begin + end);
}

type Fail = (why: string) => never;

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  let header: unknown;
  try {
    header = parseBoundedJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    fail(`its header of ${bytes.length} bytes is not JSON (${oneLine((error as Error).message)})`);
  }
  if (!isObject(header)) return fail("its header is not a JSON object");
  return header;
}

function parseMetadata(header: Record<string, unknown>, fail: Fail): Record<string, string> {
  const metadata = header.__metadata__;
  if (metadata === undefined) return {};
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
    return fail("its __metadata__ is not an object of strings");
  }
  return metadata as Record<string, string>;
}

function parseEntry(name: string, value: unknown, start: number, source: ByteSource, fail: Fail): TensorEntry {
  const of = `the tensor ${oneLine(name)}`;
  if (!isObject(value)) return fail(`${of} is described by ${show(value)}, not by an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    return fail(`${of} has dtype ${show(dtype)}, not one of ${Object.keys(DTYPE_BYTES).join(", ")}`);
  }
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isCount)) {
    return fail(`${of} has shape ${show(shape)}, not a list of at most ${MAX_RANK} whole numbers ≥ 0`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[1] < offsets[0]) {
    return fail(`${of} has data_offsets ${show(offsets)}, not [begin, end] with 0 ≤ begin ≤ end`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, extent) => product * BigInt(extent), BigInt(DTYPE_BYTES[dtype]));
  if (bytes !== BigInt(end - begin)) {
    return fail(
      `${of} of ${dtype} [${shape}] needs ${bytes} bytes, but its data_offsets [${offsets}] have ${end - begin}`,
    );
  }
  if (end > source.size - start) {
    return fail(
      `${of} ends at byte ${end} of the data, which has ${source.size - start}: the file is incomplete or damaged`,
    );
  }
  return { name, dtype, shape, begin: start + begin, end: start + end, source };
}

function checkCover(tensors: TensorEntry[], start: number, source: ByteSource, fail: Fail): void {
  let at = start;
  let before = "the header";
  for (const { name, begin, end } of tensors) {
    if (begin < at) fail(`the tensor ${oneLine(name)} begins at data byte ${begin - start}, inside ${before}`);
    if (begin > at) fail(`data bytes ${at - start} to ${begin - start}, before ${oneLine(name)}, belong to no tensor`);
    at = end;
    before = `the tensor ${oneLine(name)} that ends at ${end - start}`;
  }
  if (at !== source.size)
    fail(`data bytes ${at - start} to ${source.size - start}, after ${before}, belong to no tensor`);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Bytes of a tensor of `dtype` and `shape`. */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, DTYPE_BYTES[dtype]);
}

/**
 * The tensor order of Hugging Face's writer: widest dtype first (so that each is aligned), then by name.
 */
function layoutOrder<T extends { name: string; dtype: Dtype }>(tensors: readonly T[]): T[] {
  const rank = Object.keys(DTYPE_BYTES);
  return [...tensors].sort(
    (a, b) => rank.indexOf(b.dtype) - rank.indexOf(a.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
}

/**
 * The length word and the header, padded with spaces to 8 bytes, for tensors in the order given.
 *
 * @throws {FormatError} for a name that appears twice or is `__metadata__`
 */
export function encodeHeader(
  tensors: readonly { name: string; dtype: Dtype; shape: readonly number[] }[],
  metadata: Record<string, string> = {},
): Uint8Array {
  const fields = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  const seen = new Set(["__metadata__"]);
  let at = 0;
  for (const { name, dtype, shape } of tensors) {
    if (seen.has(name))
      throw new FormatError(`Cannot write the tensor ${name} to safetensors: the name occurs twice or is reserved`);
    seen.add(name);
    const end = at + tensorBytes(dtype, shape);
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, end] })}`);
    at = end;
  }
  const text = new TextEncoder().encode(`{${fields.join(",")}}`);
  const length = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + length).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(text, 8);
  return out;
}

/**
 * Frames tensors as a safetensors file, streamed: give the result to {@link Folder.write}.
 *
 * Same layout as Hugging Face's writer: the same tensors give the same bytes.
 *
 * @param metadata `__metadata__`; `{ format: "pt" }` for transformers or PEFT
 * @throws {FormatError} when a tensor's data does not match its shape
 */
export async function* encodeSafetensors(
  tensors: readonly TensorData[],
  metadata: Record<string, string> = {},
): AsyncGenerator<Uint8Array> {
  const ordered = layoutOrder(tensors);
  yield encodeHeader(ordered, metadata);
  for (const { name, dtype, shape, data } of ordered) {
    const wanted = tensorBytes(dtype, shape);
    let written = 0;
    for await (const part of data instanceof Uint8Array ? [data] : data) {
      written += part.length;
      if (written > wanted) break;
      yield part;
    }
    if (written !== wanted) {
      throw new FormatError(
        `Cannot write the tensor ${name} of ${dtype} [${shape}]: it needs ${wanted} bytes, but its data has ${written > wanted ? "more" : written}`,
      );
    }
  }
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
