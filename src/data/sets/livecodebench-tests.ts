/** Most characters of one problem's unpacked tests. */
const MAX_LENGTH = 512 * 1024 * 1024;

/**
 * LiveCodeBench's private tests as JSON. They are stored as JSON, or as a pickled JSON string, compressed with zlib, in
 * base64. The pickle is not executed: only its string is extracted.
 *
 * @throws {Error} any other content
 */
export async function decodeTests(text: string): Promise<string> {
  const plain = text.trim();
  if (plain === "" || plain.startsWith("[")) return plain === "" ? "[]" : plain;
  if (!/^[A-Za-z0-9+/\s]+={0,2}$/.test(plain)) throw new Error("it is neither JSON nor base64");
  const packed = Uint8Array.from(atob(plain.replace(/\s/g, "")), (c) => c.charCodeAt(0));
  return pickledString(await unzlib(packed));
}

async function unzlib(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream) {
    parts.push(part);
    length += part.length;
    if (length > MAX_LENGTH) throw new Error(`it unpacks to more than ${MAX_LENGTH} bytes`);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The string of a pickle that holds one string and nothing else. @see Python's pickletools: PROTO, FRAME, *UNICODE, MEMO, STOP */
function pickledString(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let found: string | null = null;
  const take = (length: number): string => {
    if (at + length > bytes.length) throw new Error("its pickle ends early");
    at += length;
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at - length, at));
  };
  const eight = (): number => {
    const length = view.getUint32(at, true);
    if (view.getUint32(at + 4, true) !== 0) throw new Error("its pickle is too long");
    at += 8;
    return length;
  };
  while (at < bytes.length) {
    const opcode = bytes[at++];
    if (opcode === 0x80)
      at++; // PROTO
    else if (opcode === 0x95)
      at += 8; // FRAME
    else if (opcode === 0x94)
      continue; // MEMOIZE
    else if (opcode === 0x71)
      at++; // BINPUT
    else if (opcode === 0x2e && found !== null)
      return found; // STOP
    else if (opcode === 0x8c)
      found = take(bytes[at++]); // SHORT_BINUNICODE
    else if (opcode === 0x58) {
      const length = view.getUint32(at, true); // BINUNICODE
      at += 4;
      found = take(length);
    } else if (opcode === 0x8d)
      found = take(eight()); // BINUNICODE8
    else throw new Error(`its pickle contains more than a string (opcode ${opcode})`);
  }
  throw new Error("its pickle does not end");
}
