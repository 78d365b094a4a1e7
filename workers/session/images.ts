import { browserImages } from "../../src/platform/browser/images.ts";
import { opfsRoot } from "../../src/platform/browser/opfs-folder.ts";
import type { ChatImage } from "../../src/session/chat.ts";
import type { PreparedText } from "../../src/session/generate.ts";
import { Images } from "../../src/session/images.ts";
import { FEATURES } from "./storage.ts";

/** Most pixels of a small picture's side. */
const SIDE = 512;

/** Opens images of rows and of chats; their features are kept in OPFS. Null: the model has no vision tower. */
export function openImages({
  checkpoint,
  config,
}: Pick<PreparedText, "checkpoint" | "config">): Promise<Images | null> {
  return Images.open(browserImages(opfsRoot().folder(FEATURES)), checkpoint, config);
}

/**
 * The images of a message.
 *
 * @param blobs PNG, JPEG or WebP files
 * @throws {DataError} a file that is no image which can be read
 */
export async function messageImages(images: Images, blobs: readonly Blob[]): Promise<ChatImage[]> {
  const content = await Promise.all(
    blobs.map(async (blob) => ({ type: "image", bytes: new Uint8Array(await blob.arrayBuffer()) })),
  );
  const row = await images.row({ row: { messages: [{ role: "user", content }] }, number: 1, file: "the message" });
  return row.images!.map((image, i) => ({ name: `image ${i + 1}`, image }));
}

/** A small picture of each image, as a data URL by its key. */
export async function picturesOf(images: Images, keys: Iterable<string>): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  for (const key of new Set(keys)) made[key] = await pictureOf(await images.bytesOf({ key }));
  return made;
}

async function pictureOf(bytes: Uint8Array): Promise<string> {
  // the browser finds the type itself: the bytes were checked when the row was read
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
  try {
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0, width, height);
    const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.85 });
    return await dataUrl(blob);
  } finally {
    bitmap.close();
  }
}

async function dataUrl(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return `data:${blob.type};base64,${btoa(text)}`;
}
