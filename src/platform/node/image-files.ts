import { realpath } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError, UnsupportedError } from "../../errors.ts";
import { downloadImage, type ImageDecoder, MOST_IMAGE_BYTES } from "../../io/images.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFile } from "./fs.ts";
import { decodeNodeImage } from "./images.ts";

/**
 * Images of rows in Node and Deno: files below the folder of the rows or below the working directory, and http(s) URLs.
 *
 * @param cache where features are kept between runs; null: nowhere
 */
export function nodeImages(cache: Folder | null = null): {
  decode: ImageDecoder;
  read(address: string, from: string): Promise<Uint8Array>;
  cache: Folder | null;
} {
  return {
    decode: decodeNodeImage,
    cache,
    read: (address, from) => (/^https?:\/\//i.test(address) ? downloadImage(address) : readFile(address, from)),
  };
}

/** Data sets come from anywhere, so their rows may not name any file of the machine. */
async function readFile(address: string, from: string): Promise<Uint8Array> {
  const named = address.startsWith("file://") ? fileURLToPath(address) : address;
  const roots = [dirname(resolve(from)), process.cwd()];
  for (const root of roots) {
    const found = await realpath(resolve(root, named)).catch(() => null);
    if (found === null) continue;
    const inside = await Promise.all(
      roots.map(async (each) => isInside(found, await realpath(each).catch(() => each))),
    );
    if (!inside.some(Boolean)) {
      throw new UnsupportedError(
        `it is outside the folder of its rows (${roots[0]}) and outside the working directory; move it into one of them`,
      );
    }
    const source = await nodeFile(found);
    if (source.size > MOST_IMAGE_BYTES)
      throw new UnsupportedError(`it has ${source.size} bytes; an image may have ${MOST_IMAGE_BYTES} (64 MiB)`);
    return source.read(0, source.size);
  }
  throw new NotFoundError(`there is no such file below ${roots[0]} or in the working directory`);
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== "" && !way.startsWith("..") && !isAbsolute(way);
}
