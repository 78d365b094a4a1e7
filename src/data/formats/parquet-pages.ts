import { mostPageBytes, type ParquetDecompressors } from "./parquet-codecs.ts";

/** One leaf of the schema: the allowed content of its pages. */
export interface Leaf {
  path: string;
  type: string;
  /** bytes of a FIXED_LEN_BYTE_ARRAY */
  typeLength: number;
  /** maximum definition level: lower levels mean a null or an empty list */
  maxDefinition: number;
  /** number of lists around a value */
  maxRepetition: number;
}

const DATA_PAGE = 0;
const DICTIONARY_PAGE = 2;
const DATA_PAGE_V2 = 3;
const PLAIN_DICTIONARY = 2;
const RLE = 3;
const DELTA_BINARY_PACKED = 5;
const DELTA_LENGTH_BYTE_ARRAY = 6;
const DELTA_BYTE_ARRAY = 7;
const RLE_DICTIONARY = 8;
/** Extra values that a writer may pack to fill a group. */
const spareValues = 512;

/** Reads bytes in order. @throws {RangeError} past the end */
class Bytes {
  readonly view: DataView;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
  }

  byte(): number {
    return this.view.getUint8(this.at++);
  }

  skip(bytes: number): void {
    if (!(bytes >= 0 && this.at + bytes <= this.view.byteLength)) {
      throw new RangeError(`${bytes} bytes at ${this.at} of ${this.view.byteLength}`);
    }
    this.at += bytes;
  }

  /** ULEB128 as in hyparquet: truncated to 32 bits, signed. */
  varint(): number {
    let result = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      result |= (byte & 0x7f) << shift;
      if (byte < 0x80) return result;
      if (shift > 63) throw new RangeError("a number of more than 64 bits");
    }
  }

  zigzag(): number {
    const n = this.varint();
    return (n >>> 1) ^ -(n & 1);
  }
}

type Thrift = Map<number, unknown>;

/** A struct of Thrift's compact protocol: numbers, booleans and structs by field; the rest is skipped. */
function readStruct(bytes: Bytes, depth = 0): Thrift {
  if (depth > 16) throw new RangeError("structs nest more than 16 deep");
  const fields: Thrift = new Map();
  for (let field = 0; ; ) {
    const head = bytes.byte();
    const type = head & 15;
    if (type === 0) return fields;
    field = head >> 4 ? field + (head >> 4) : bytes.zigzag();
    fields.set(field, readElement(bytes, type, depth));
  }
}

function readElement(bytes: Bytes, type: number, depth: number): unknown {
  if (type === 1 || type === 2) return type === 1;
  if (type === 3) return bytes.byte();
  if (type >= 4 && type <= 6) return bytes.zigzag();
  if (type === 7) return bytes.skip(8);
  if (type === 8) return bytes.skip(bytes.varint());
  if (type === 12) return readStruct(bytes, depth + 1);
  if (type !== 9) throw new RangeError(`Thrift's type ${type}`);
  const head = bytes.byte();
  const size = head >> 4 === 15 ? bytes.varint() : head >> 4;
  if (size < 0 || size > bytes.view.byteLength) throw new RangeError(`a list of ${size}`);
  for (let i = 0; i < size; i++) readElement(bytes, (head & 15) <= 2 ? 3 : head & 15, depth + 1);
  return undefined;
}

/**
 * Checks the pages of one column of one row group before they are decoded. hyparquet trusts the pages' headers: one
 * changed byte can make it loop forever, or allocate memory for values that do not exist.
 *
 * @param chunk the column's bytes, from its first page on
 * @param numValues values of the column in this group
 * @throws {Error} the inconsistency
 */
export function checkPages(
  chunk: Uint8Array,
  leaf: Leaf,
  numValues: number,
  decompress: ParquetDecompressors[string],
): void {
  const bytes = new Bytes(chunk);
  let values = 0;
  let dictionary = 0;
  // as in hyparquet: a single last byte is not a page
  while (bytes.at < chunk.length - 1 && values < numValues) {
    const header = readStruct(bytes);
    const [type, unpacked, packed] = [1, 2, 3].map((field) => number(header, field, "page"));
    require(unpacked >= 0 && unpacked <= mostPageBytes, `a page of ${unpacked} bytes`);
    require(packed >= 0 &&
      packed <= chunk.length - bytes.at, `a page of ${packed} bytes where ${chunk.length - bytes.at} are left`);
    const body = chunk.subarray(bytes.at, bytes.at + packed);
    bytes.skip(packed);
    if (type === DICTIONARY_PAGE) {
      dictionary = number(struct(header, 7), 1, "dictionary");
      require(dictionary >= 0 &&
        dictionary <= unpacked * 8, `a dictionary of ${dictionary} values in ${unpacked} bytes`);
    } else if (type === DATA_PAGE || type === DATA_PAGE_V2) {
      const page = struct(header, type === DATA_PAGE ? 5 : 8);
      const count = number(page, 1, "page");
      values += count;
      require(count >= 0 && values <= numValues, `${values} values in pages, but ${numValues} in the column`);
      if (type === DATA_PAGE) checkPage(unpack(body, unpacked, decompress), page, leaf, count, dictionary);
      else checkPageV2(body, unpacked, { header: page, leaf, count, dictionary }, decompress);
    } else throw new Error(`a page of type ${type}`);
  }
  require(values === numValues, `${values} values in pages, but ${numValues} in the column`);
}

function unpack(body: Uint8Array, length: number, decompress: ParquetDecompressors[string]): Uint8Array {
  const page = decompress(body, length);
  require(page.length === length, `a page of ${page.length} bytes, but its header says ${length}`);
  return page;
}

function checkPage(page: Uint8Array, header: Thrift, leaf: Leaf, count: number, dictionary: number): void {
  const bytes = new Bytes(page);
  let present = count;
  for (const most of [leaf.maxRepetition, leaf.maxDefinition]) {
    if (most === 0) continue;
    const length = bytes.view.getUint32(bytes.at, true);
    bytes.skip(4);
    const start = bytes.at;
    bytes.skip(length);
    present = checkLevels(page.subarray(start, start + length), most, count);
  }
  checkValues(
    page.subarray(bytes.at),
    number(header, 2, "page"),
    leaf,
    leaf.maxDefinition ? present : count,
    dictionary,
  );
}

function checkPageV2(
  body: Uint8Array,
  unpacked: number,
  { header, leaf, count, dictionary }: { header: Thrift; leaf: Leaf; count: number; dictionary: number },
  decompress: ParquetDecompressors[string],
): void {
  const [nulls, rows, encoding, definitions, repetitions] = [2, 3, 4, 5, 6].map((f) => number(header, f, "page"));
  require(nulls >= 0 &&
    nulls <= count &&
    rows >= 0 &&
    rows <= count, `${nulls} nulls and ${rows} rows among ${count} values`);
  const levels = definitions + repetitions;
  require(definitions >= 0 &&
    repetitions >= 0 &&
    levels <= Math.min(body.length, unpacked), `levels of ${levels} bytes`);
  require(repetitions === 0 || leaf.maxRepetition > 0, "list levels in a column without lists");
  if (leaf.maxRepetition) checkLevels(body.subarray(0, repetitions), leaf.maxRepetition, count);
  if (leaf.maxDefinition) {
    const present = checkLevels(body.subarray(repetitions, levels), leaf.maxDefinition, count);
    // PyArrow counts the nulls of lists differently, and values would be read past their end
    require(present ===
      count - nulls, `${count - present} nulls, but the header says ${nulls}; write it with data_page_version="1.0"`);
  }
  const packed = header.get(7) !== false;
  const rest = body.subarray(levels);
  checkValues(packed ? unpack(rest, unpacked - levels, decompress) : rest, encoding, leaf, count - nulls, dictionary);
}

/** @returns the number of levels equal to `most` */
function checkLevels(bytes: Uint8Array, most: number, count: number): number {
  let full = 0;
  checkRuns(new Bytes(bytes), 32 - Math.clz32(most), count, (value, times) => {
    require(value <= most, `level ${value} of ${most}`);
    if (value === most) full += times;
  });
  return full;
}

function checkValues(bytes: Uint8Array, encoding: number, leaf: Leaf, count: number, dictionary: number): void {
  if (encoding === PLAIN_DICTIONARY || encoding === RLE_DICTIONARY || encoding === RLE) {
    if (count === 0) return;
    const reader = new Bytes(bytes);
    const boolean = leaf.type === "BOOLEAN";
    const width = boolean ? 1 : reader.byte();
    require(width <= 32, `values of ${width} bits`);
    if (boolean) reader.skip(4);
    if (width > 0) {
      checkRuns(reader, width, count, (value) => {
        require(boolean || value < dictionary, `value ${value} of a dictionary of ${dictionary}`);
      });
    } else require(dictionary > 0, "values of an empty dictionary");
    return;
  }
  if (encoding === 0 || encoding === 9) {
    const bits = { BOOLEAN: 1, INT32: 32, INT64: 64, INT96: 96, FLOAT: 32, DOUBLE: 64, BYTE_ARRAY: 32 }[leaf.type];
    const least = Math.ceil((count * (bits ?? leaf.typeLength * 8)) / 8);
    require(least <= bytes.length, `${count} values in ${bytes.length} bytes`);
    require(bits !== undefined || leaf.typeLength > 0 || count === 0, "values without a length");
    return;
  }
  if (encoding === DELTA_BINARY_PACKED) checkDeltas(new Bytes(bytes), count);
  else if (encoding === DELTA_LENGTH_BYTE_ARRAY) checkDeltas(new Bytes(bytes), count);
  else if (encoding === DELTA_BYTE_ARRAY) checkPrefixes(bytes, count);
  else throw new Error(`encoding ${encoding}`);
}

/** Runs of equal values, and bit-packed values. `see` is called with each value and its count. */
function checkRuns(bytes: Bytes, width: number, count: number, see: (value: number, times: number) => void): void {
  for (let seen = 0; seen < count; ) {
    const head = bytes.varint();
    const length = head & 1 ? (head >>> 1) * 8 : head >>> 1;
    require(length > 0 && seen + length <= count + spareValues, `a run of ${length} values after ${seen} of ${count}`);
    const used = Math.min(length, count - seen);
    if (head & 1) {
      const start = bytes.at * 8;
      bytes.skip((length / 8) * width);
      for (let i = 0; i < used; i++) see(bitsAt(bytes.view, start + i * width, width), 1);
    } else {
      let value = 0;
      for (let i = 0; i < width; i += 8) value += bytes.byte() * 2 ** i;
      see(value, used);
    }
    seen += length;
  }
}

function bitsAt(view: DataView, at: number, width: number): number {
  let value = 0;
  for (let bit = 0; bit < width; bit++) {
    const place = at + bit;
    if ((view.getUint8(place >> 3) >> (place & 7)) & 1) value += 2 ** bit;
  }
  return value;
}

/** Delta-packed integers; `see` is called with the sizes of their blocks. */
function checkDeltas(bytes: Bytes, count: number): void {
  const [block, parts] = [bytes.varint(), bytes.varint()];
  const total = bytes.varint();
  skipVarint(bytes);
  require(block > 0 && block % 128 === 0 && block <= 1 << 20, `blocks of ${block} values`);
  require(parts > 0 &&
    parts <= 4096 &&
    block % parts === 0 &&
    (block / parts) % 8 === 0, `${parts} parts of a block of ${block}`);
  require(total === count || (count === 0 && total >= 0), `${total} packed values for ${count}`);
  for (let seen = 1; seen < count; ) {
    skipVarint(bytes);
    const start = bytes.at;
    bytes.skip(parts);
    for (let part = 0; part < parts && seen < count; part++) {
      const width = bytes.view.getUint8(start + part);
      require(width <= 64, `values of ${width} bits`);
      const used = Math.min(block / parts, count - seen);
      // the last part may end after its last value
      const whole = ((block / parts) * width) / 8;
      const left = bytes.view.byteLength - bytes.at;
      bytes.skip(used < block / parts ? Math.min(left, Math.max(whole, 0)) : whole);
      seen += used;
    }
  }
}

function skipVarint(bytes: Bytes): void {
  for (let i = 0; bytes.byte() >= 0x80; i++) require(i < 10, "a number of more than 64 bits");
}

/** Texts that share a prefix with the previous text: bounds the memory that they decompress to. */
function checkPrefixes(bytes: Uint8Array, count: number): void {
  const reader = new Bytes(bytes);
  checkDeltas(reader, count);
  // a prefix is at most as long as the previous text, which bounds the total
  require(count * bytes.length <= mostPageBytes * 8 ||
    count < 2, `${count} prefix-coded texts in ${bytes.length} bytes`);
  checkDeltas(reader, count);
}

function struct(of: Thrift, field: number): Thrift {
  const value = of.get(field);
  if (!(value instanceof Map)) throw new Error("a page without its header");
  return value;
}

function number(of: Thrift, field: number, what: string): number {
  const value = of.get(field);
  if (typeof value !== "number") throw new Error(`a ${what} without its sizes`);
  return value;
}

function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
