/** Decompresses one Parquet codec: compressed page in, `length` bytes out. Keys are Parquet's names, such as `ZSTD`. */
export type ParquetDecompressors = Record<string, (input: Uint8Array, length: number) => Uint8Array>;

/** Most bytes of one page: writers create pages of 1 MiB, or of one long value. */
export const mostPageBytes = 128 * 1024 * 1024;

/**
 * Every codec except LZO. Each writes into memory of the length in the page's header, so that a small page cannot
 * decompress without limit.
 */
export async function parquetDecompressors(): Promise<ParquetDecompressors> {
  // Loaded on first use: most data sets are JSON.
  const [{ snappyUncompress }, { decompress }, { decompressBrotli }, { gunzip }, { decompressLz4, decompressLz4Raw }] =
    await Promise.all([
      import("hyparquet"),
      import("fzstd"),
      import("hyparquet-compressors/src/brotli.js"),
      import("hyparquet-compressors/src/gzip.js"),
      import("hyparquet-compressors/src/lz4.js"),
    ]);
  const all: ParquetDecompressors = {
    UNCOMPRESSED: (input) => input,
    SNAPPY: (input, length) => {
      const output = new Uint8Array(length);
      snappyUncompress(input, output);
      return output;
    },
    GZIP: (input, length) => gunzip(input, new Uint8Array(length)),
    BROTLI: decompressBrotli,
    LZ4: decompressLz4,
    LZ4_RAW: decompressLz4Raw,
    ZSTD: (input, length) => {
      checkZstd(input, length);
      return decompress(input, new Uint8Array(length));
    },
  };
  // some decoders report an empty page as damaged
  const orEmpty =
    (undo: ParquetDecompressors[string]): ParquetDecompressors[string] =>
    (input, length) =>
      length === 0 ? new Uint8Array(0) : undo(input, length);
  return Object.fromEntries(Object.entries(all).map(([codec, undo]) => [codec, orEmpty(undo)]));
}

/**
 * Checks one Zstandard frame against its expected length: the decoder would allocate any size in a forged header, again
 * for every further frame.
 *
 * @throws {Error}
 * @see RFC 8878, section 3.1.1
 */
function checkZstd(input: Uint8Array, length: number): void {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (view.getUint32(0, true) !== 0xfd2fb528) throw new Error("zstd: the page is not a frame");
  const descriptor = view.getUint8(4);
  const single = (descriptor & 0x20) !== 0;
  let at = 5;
  if (!single) {
    const window = view.getUint8(at++);
    const size = 2 ** (10 + (window >> 3)) * (1 + (window & 7) / 8);
    if (size > mostPageBytes) throw new Error(`zstd: a window of ${size} bytes`);
  }
  at += [0, 1, 2, 4][descriptor & 3];
  const sizeBytes = descriptor >> 6 === 0 ? (single ? 1 : 0) : 1 << (descriptor >> 6);
  let size = 0;
  for (let i = 0; i < sizeBytes; i++) size += view.getUint8(at + i) * 2 ** (8 * i);
  if (sizeBytes === 2) size += 256;
  if (sizeBytes > 0 && size !== length) throw new Error(`zstd: a frame of ${size} bytes in a page of ${length}`);
  at += sizeBytes;
  for (let last = false; !last; ) {
    const block = view.getUint8(at) | (view.getUint8(at + 1) << 8) | (view.getUint8(at + 2) << 16);
    last = (block & 1) !== 0;
    const repeated = ((block >> 1) & 3) === 1;
    if (block >> 3 > 128 * 1024) throw new Error(`zstd: a block of ${block >> 3} bytes`);
    at += 3 + (repeated ? 1 : block >> 3);
  }
  if (descriptor & 4) at += 4;
  if (at !== input.length) throw new Error(`zstd: a frame of ${at} bytes in a page of ${input.length}`);
}
