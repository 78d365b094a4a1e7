import { FormatError, UnsupportedError } from "../../src/errors.ts";
import { DTYPE_BYTES, type Dtype } from "../../src/io/dtype.ts";

/**
 * Reads an integer tensor (token ids, labels, masks).
 *
 * @param bytes little-endian elements of BOOL, U8, I8, I16, U16, I32, U32, I64 or U64
 * @throws {FormatError} for a value that does not fit 32 signed bits
 */
export function toInt32(bytes: Uint8Array, dtype: Dtype): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read: Partial<Record<Dtype, (at: number) => number | bigint>> = {
    BOOL: (at) => view.getUint8(at),
    U8: (at) => view.getUint8(at),
    I8: (at) => view.getInt8(at),
    I16: (at) => view.getInt16(at, true),
    U16: (at) => view.getUint16(at, true),
    I32: (at) => view.getInt32(at, true),
    U32: (at) => view.getUint32(at, true),
    I64: (at) => view.getBigInt64(at, true),
    U64: (at) => view.getBigUint64(at, true),
  };
  const element = read[dtype];
  if (!element) throw new UnsupportedError(`Cannot read a ${dtype} tensor as integers`);
  const out = new Int32Array(bytes.length / DTYPE_BYTES[dtype]);
  for (let i = 0; i < out.length; i++) {
    const value = element(i * DTYPE_BYTES[dtype]);
    out[i] = Number(value);
    if (BigInt(out[i]!) !== BigInt(value)) {
      throw new FormatError(`Cannot read element ${i} of an ${dtype} tensor: ${value} does not fit 32 signed bits`);
    }
  }
  return out;
}
