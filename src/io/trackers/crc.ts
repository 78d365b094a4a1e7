/** Makes a CRC of 32 bits. @param polynomial in reversed bit order */
function crcOf(polynomial: number): (bytes: Uint8Array) => number {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value;
  });
  return (bytes) => {
    let crc = 0xffffffff;
    for (const byte of bytes) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
    return (crc ^ 0xffffffff) >>> 0;
  };
}

/** CRC-32C (Castagnoli), which TensorBoard's files use. */
export const crc32c: (bytes: Uint8Array) => number = crcOf(0x82f63b78);

/** CRC-32 as zlib has it, which Weights & Biases' files use. */
export const crc32: (bytes: Uint8Array) => number = crcOf(0xedb88320);
