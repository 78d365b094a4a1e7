import * as client from "../../../src/client.ts";
import { upright, withoutAlpha } from "../../../src/data/images/pixels.ts";
import { decodeImage } from "../../../src/io/images.ts";
import { decodeBrowserImage } from "../../../src/platform/browser/images.ts";

/** Red, green and blue of an image as a row's would be, by the browser's decoder. */
async function pixelsOf(values: number[]) {
  const { orientation, ...raw } = await decodeImage(Uint8Array.from(values), "a", decodeBrowserImage);
  const { width, height, data } = upright(withoutAlpha(raw), orientation);
  return { width, height, data: Array.from(data) };
}

Object.assign(globalThis, { client, pixelsOf });
export type PixelsOf = typeof pixelsOf;
