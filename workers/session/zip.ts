import { Zip, ZipPassThrough } from "fflate";
import { UnsupportedError } from "../../src/errors.ts";

/** A file of a zip: at once, or streamed. */
interface ZipEntry {
  name: string;
  content: Uint8Array | string | AsyncIterable<Uint8Array>;
}

/** The format's own limit without its 64-bit extension, bytes. */
const MOST = 2 ** 32 - 1;

/** A zip without compression, for weights do not shrink; a piece at a time. @throws {UnsupportedError} 4 GB and more */
export async function* zipped(entries: AsyncIterable<ZipEntry>): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  let bytes = 0;
  const zip = new Zip((error, chunk) => {
    if (error) throw error;
    bytes += chunk.length;
    if (bytes > MOST) throw new UnsupportedError("Cannot make a zip of more than 4 GB: download the adapter instead");
    if (chunk.length > 0) ready.push(chunk);
  });
  for await (const { name, content } of entries) {
    const file = new ZipPassThrough(name);
    zip.add(file);
    for await (const piece of pieces(content)) {
      file.push(piece);
      yield* ready;
      ready = [];
    }
    file.push(new Uint8Array(), true);
  }
  zip.end();
  yield* ready;
}

export async function* pieces(content: ZipEntry["content"]): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}
