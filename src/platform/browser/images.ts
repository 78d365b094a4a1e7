import { UnsupportedError } from "../../errors.ts";
import { downloadImage, type ImageDecoder } from "../../io/images.ts";
import type { Folder } from "../../io/storage.ts";

const TYPES = { png: "image/png", jpeg: "image/jpeg", webp: "image/webp" } as const;

/**
 * Decodes an image with the browser's own decoders. The browser applies the orientation. Where an image is transparent, its colours
 * are those of a canvas: black if it is fully transparent.
 */
export const decodeBrowserImage: ImageDecoder = async (bytes, type) => {
  // the model's numbers are those of the file, without the screen's colours
  const options: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: TYPES[type] }), options);
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: context.getImageData(0, 0, width, height).data, upright: true };
  } finally {
    bitmap.close();
  }
};

/**
 * Images of rows in a page: bytes in Parquet, data URLs, and http(s) URLs of servers that let the page read them (CORS).
 *
 * @param cache where features are kept between runs; null: nowhere
 */
export function browserImages(cache: Folder | null = null): {
  decode: ImageDecoder;
  read(address: string): Promise<Uint8Array>;
  cache: Folder | null;
} {
  return {
    decode: decodeBrowserImage,
    cache,
    read(address) {
      if (/^https?:\/\//i.test(address)) return downloadImage(address);
      throw new UnsupportedError(
        "a page cannot open the files that a row names; use Parquet whose image column holds the bytes, data URLs, or http(s) URLs",
      );
    },
  };
}
