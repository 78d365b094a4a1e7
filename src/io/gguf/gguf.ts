import { FormatError } from "../../errors.ts";

/** ggml types that Qwench writes: type number, bytes per block, elements per block. */
export const GGML_TYPES = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  BF16: { id: 30, block: 1, bytes: 2 },
} as const;
export type GgmlType = keyof typeof GGML_TYPES;

/** A metadata value with its type. */
export type GgufValue =
  | { type: "u32" | "i32" | "f32"; value: number }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | { type: "strings"; value: readonly string[] }
  | { type: "i32s"; value: readonly number[] };

/** One tensor to write. */
export interface GgufTensor {
  name: string;
  type: GgmlType;
  /** rows first, as in a checkpoint; the file stores it reversed */
  shape: readonly number[];
  data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export const GGUF_MAGIC = 0x46554747; // "GGUF"
export const GGUF_VERSION = 3;
/** Default alignment of tensors. */
export const GGUF_ALIGNMENT = 32;
/** Numbers of metadata types. */
const GGUF_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** Bytes of a tensor. @throws {FormatError} rows that are not a whole number of blocks */
export function ggmlBytes(type: GgmlType, shape: readonly number[]): number {
  const { block, bytes } = GGML_TYPES[type];
  const inner = shape.at(-1) ?? 1;
  if (inner % block !== 0)
    throw new FormatError(`Cannot store rows of ${inner} as ${type}: a row must be a multiple of ${block}`);
  return (shape.reduce((product, extent) => product * extent, 1) / block) * bytes;
}

/**
 * Frames tensors as a GGUF file (version 3, little-endian), streamed: give the result to {@link Folder.write}.
 *
 * @throws {FormatError} when a tensor's data is not the length of its shape, or a name appears twice
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export async function* encodeGguf(
  metadata: readonly (readonly [string, GgufValue])[],
  tensors: readonly GgufTensor[],
): AsyncGenerator<Uint8Array> {
  const head = header(metadata, tensors);
  yield head;
  yield padding(head.length);
  for (const { name, type, shape, data } of tensors) {
    const wanted = ggmlBytes(type, shape);
    let written = 0;
    for await (const part of data) {
      written += part.length;
      if (written > wanted) break;
      yield part;
    }
    if (written !== wanted) {
      throw new FormatError(
        `Cannot write the tensor ${name} of ${type} [${shape}]: it needs ${wanted} bytes, but its data has ${written > wanted ? "more" : written}`,
      );
    }
    yield padding(written);
  }
}

function header(metadata: readonly (readonly [string, GgufValue])[], tensors: readonly GgufTensor[]): Uint8Array {
  const out = new Writer();
  const seen = new Set<string>();
  const once = (what: string, name: string) => {
    if (seen.has(`${what} ${name}`)) throw new FormatError(`Cannot write GGUF: the ${what} ${name} appears twice`);
    seen.add(`${what} ${name}`);
  };
  out.u32(GGUF_MAGIC);
  out.u32(GGUF_VERSION);
  out.u64(tensors.length);
  out.u64(metadata.length);
  for (const [key, value] of metadata) {
    once("key", key);
    out.string(key);
    writeValue(out, value);
  }
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    once("tensor", name);
    out.string(name);
    out.u32(shape.length);
    for (const extent of [...shape].reverse()) out.u64(extent);
    out.u32(GGML_TYPES[type].id);
    out.u64(offset);
    offset = aligned(offset + ggmlBytes(type, shape));
  }
  return out.bytes();
}

function writeValue(out: Writer, value: GgufValue): void {
  switch (value.type) {
    case "strings":
      out.u32(GGUF_TYPES.array);
      out.u32(GGUF_TYPES.string);
      out.u64(value.value.length);
      for (const text of value.value) out.string(text);
      return;
    case "i32s":
      out.u32(GGUF_TYPES.array);
      out.u32(GGUF_TYPES.i32);
      out.u64(value.value.length);
      for (const number of value.value) out.i32(number);
      return;
  }
  out.u32(GGUF_TYPES[value.type]);
  if (value.type === "string") out.string(value.value);
  else if (value.type === "bool") out.u8(value.value ? 1 : 0);
  else out[value.type](value.value);
}

/** The next multiple of the alignment. */
export function aligned(bytes: number, alignment = GGUF_ALIGNMENT): number {
  return Math.ceil(bytes / alignment) * alignment;
}

const padding = (bytes: number) => new Uint8Array(aligned(bytes) - bytes);

/** Little-endian values one after the other. */
class Writer {
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;
  readonly #utf8 = new TextEncoder();

  #take(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#buffer.length));
      larger.set(this.#buffer);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u8(value: number): void {
    const at = this.#take(1); // may replace the buffer
    this.#buffer[at] = value;
  }

  u32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  i32(value: number): void {
    const at = this.#take(4);
    this.#view.setInt32(at, value, true);
  }

  f32(value: number): void {
    const at = this.#take(4);
    this.#view.setFloat32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  string(text: string): void {
    const bytes = this.#utf8.encode(text);
    this.u64(bytes.length);
    const at = this.#take(bytes.length);
    this.#buffer.set(bytes, at);
  }

  bytes(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }
}
