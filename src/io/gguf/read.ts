import { FormatError, UnsupportedError } from "../../errors.ts";
import { oneLine } from "../../text/show.ts";
import type { ByteSource } from "../storage.ts";
import { aligned, GGML_TYPES, GGUF_ALIGNMENT, GGUF_MAGIC, GGUF_VERSION, type GgmlType, ggmlBytes } from "./gguf.ts";

/** A metadata value; 64-bit integers above 2^53 stay bigints. */
type GgufRead = number | bigint | boolean | string | GgufRead[];

/** A tensor's place in the file. */
export interface GgufEntry {
  readonly name: string;
  readonly type: GgmlType;
  /** rows first, as in a checkpoint */
  readonly shape: readonly number[];
  /** absolute byte offsets */
  readonly begin: number;
  readonly end: number;
}

/** A GGUF file whose header has been checked. */
export interface GgufFile {
  readonly source: ByteSource;
  readonly metadata: ReadonlyMap<string, GgufRead>;
  readonly tensors: ReadonlyMap<string, GgufEntry>;
}

/** Bytes of the header per read. */
const CHUNK = 1 << 20;
const MAX_HEADER_BYTES = 500_000_000;
const MAX_DIMENSIONS = 4;
const MAX_DEPTH = 4;
const typeNames = new Map<number, GgmlType>(Object.entries(GGML_TYPES).map(([name, { id }]) => [id, name as GgmlType]));

/**
 * Opens a GGUF file of version 3: reads and checks only the header. Counts and lengths are compared with the file size
 * before memory is allocated for them.
 *
 * @throws {FormatError} naming the file, the entry and the numbers
 * @throws {UnsupportedError} another version, or a tensor of a type that Qwench does not write
 */
export async function openGguf(source: ByteSource): Promise<GgufFile> {
  const fail = (why: string): never => {
    throw new FormatError(`Cannot read ${source.name} as GGUF: ${why}`);
  };
  const head = new Reader(source, fail);
  if ((await head.u32()) !== GGUF_MAGIC) fail("it does not begin with GGUF");
  const version = await head.u32();
  if (version !== GGUF_VERSION) {
    throw new UnsupportedError(`Cannot read ${source.name}: GGUF version ${version}; Qwench reads ${GGUF_VERSION}`);
  }
  const tensorCount = await head.count(24, "tensors"); // minimum size of one
  const keyCount = await head.count(13, "metadata entries");
  const metadata = new Map<string, GgufRead>();
  for (let i = 0; i < keyCount; i++) {
    const key = await head.string();
    if (metadata.has(key)) fail(`the key ${oneLine(key)} appears twice`);
    metadata.set(key, await head.value(await head.u32(), 0));
  }
  const found: (Omit<GgufEntry, "begin" | "end"> & { offset: number })[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = await head.string();
    const dimensions = await head.u32();
    if (dimensions > MAX_DIMENSIONS) fail(`the tensor ${oneLine(name)} has ${dimensions} dimensions`);
    const shape: number[] = [];
    for (let d = 0; d < dimensions; d++) shape.unshift(await head.whole(`an extent of ${oneLine(name)}`));
    const id = await head.u32();
    const type = typeNames.get(id);
    if (!type) {
      throw new UnsupportedError(
        `Cannot read ${source.name}: the tensor ${oneLine(name)} is of ggml's type ${id}; Qwench reads ${Object.keys(GGML_TYPES).join(", ")}`,
      );
    }
    found.push({ name, type, shape, offset: await head.whole(`the offset of ${oneLine(name)}`) });
  }
  const alignment = metadata.get("general.alignment") ?? GGUF_ALIGNMENT;
  if (typeof alignment !== "number" || alignment < 8 || alignment % 8 !== 0) {
    return fail(`general.alignment is ${oneLine(String(alignment))}`);
  }
  const start = aligned(head.at, alignment);
  const tensors = new Map<string, GgufEntry>();
  let free = 0;
  for (const { name, type, shape, offset } of found.sort((a, b) => a.offset - b.offset)) {
    if (tensors.has(name)) fail(`the tensor ${oneLine(name)} appears twice`);
    if (offset % alignment !== 0 || offset < free) fail(`the tensor ${oneLine(name)} begins at ${offset} of the data`);
    const end = offset + ggmlBytes(type, shape);
    if (!(start + end <= source.size)) {
      fail(
        `the tensor ${oneLine(name)} ends at byte ${start + end}, but the file has ${source.size} bytes: it is incomplete`,
      );
    }
    tensors.set(name, { name, type, shape, begin: start + offset, end: start + end });
    free = end;
  }
  return { source, metadata, tensors };
}

/** Reads a header front to back. */
class Reader {
  at = 0;
  readonly #source: ByteSource;
  readonly #fail: (why: string) => never;
  #chunk: Uint8Array = new Uint8Array();
  #from = 0;

  constructor(source: ByteSource, fail: (why: string) => never) {
    this.#source = source;
    this.#fail = fail;
  }

  async #take(bytes: number): Promise<DataView> {
    const { size } = this.#source;
    if (bytes > size - this.at) this.#fail(`${bytes} bytes should follow at ${this.at}, but it has ${size}`);
    if (this.at + bytes > MAX_HEADER_BYTES) this.#fail(`its header is over ${MAX_HEADER_BYTES} bytes`);
    if (this.at + bytes > this.#from + this.#chunk.length) {
      this.#from = this.at;
      this.#chunk = await this.#source.read(this.at, Math.min(size, this.at + Math.max(bytes, CHUNK)));
    }
    const view = new DataView(this.#chunk.buffer, this.#chunk.byteOffset + this.at - this.#from, bytes);
    this.at += bytes;
    return view;
  }

  async u32(): Promise<number> {
    return (await this.#take(4)).getUint32(0, true);
  }

  async #u64(): Promise<bigint> {
    return (await this.#take(8)).getBigUint64(0, true);
  }

  async whole(what: string): Promise<number> {
    const value = await this.#u64();
    if (value > BigInt(this.#source.size))
      this.#fail(`${what} is ${value}, but the file has ${this.#source.size} bytes`);
    return Number(value);
  }

  /** Reads a count of items of at least `each` bytes. */
  async count(each: number, what: string): Promise<number> {
    const value = await this.#u64();
    const left = this.#source.size - this.at;
    if (value * BigInt(each) > BigInt(left)) this.#fail(`it claims ${value} ${what}, and ${left} bytes follow`);
    return Number(value);
  }

  async string(): Promise<string> {
    const length = await this.count(1, "characters of a string");
    const { buffer, byteOffset } = await this.#take(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        new Uint8Array(buffer, byteOffset, length),
      );
    } catch {
      return this.#fail(`the string of ${length} bytes that ends at ${this.at} is not UTF-8`);
    }
  }

  async value(type: number, depth: number): Promise<GgufRead> {
    switch (type) {
      case 0:
        return (await this.#take(1)).getUint8(0);
      case 1:
        return (await this.#take(1)).getInt8(0);
      case 2:
        return (await this.#take(2)).getUint16(0, true);
      case 3:
        return (await this.#take(2)).getInt16(0, true);
      case 4:
        return this.u32();
      case 5:
        return (await this.#take(4)).getInt32(0, true);
      case 6:
        return (await this.#take(4)).getFloat32(0, true);
      case 7:
        return (await this.#take(1)).getUint8(0) !== 0;
      case 8:
        return this.string();
      case 9: {
        if (depth >= MAX_DEPTH) this.#fail(`arrays are nested over ${MAX_DEPTH} deep`);
        const inner = await this.u32();
        const length = await this.count(1, "elements of an array");
        const items: GgufRead[] = [];
        for (let i = 0; i < length; i++) items.push(await this.value(inner, depth + 1));
        return items;
      }
      case 10:
      case 11: {
        const view = await this.#take(8);
        const value = type === 10 ? view.getBigUint64(0, true) : view.getBigInt64(0, true);
        return Number.isSafeInteger(Number(value)) ? Number(value) : value;
      }
      case 12:
        return (await this.#take(8)).getFloat64(0, true);
      default:
        return this.#fail(`a value before byte ${this.at} has type ${type}`);
    }
  }
}
