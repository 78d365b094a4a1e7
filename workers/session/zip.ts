import { Zip, ZipPassThrough } from "fflate";
import { UnsupportedError } from "../../src/errors.ts";

/** A file for a zip, in memory or streamed. */
interface ZipEntry {
  name: string;
  content: Uint8Array | string | AsyncIterable<Uint8Array>;
}

/** The zip format's limit in bytes, without its 64-bit extension. */
const MOST = 2 ** 32 - 1;

/** Streams a zip without compression, because weights do not shrink. @throws {UnsupportedError} from 4 GB */
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
