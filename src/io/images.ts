import { FormatError, NetworkError, UnsupportedError } from "../errors.ts";

/** The formats of images that are read. */
export type ImageType = "png" | "jpeg" | "webp";

/** What the header of an image says. */
interface ImageHeader {
  type: ImageType;
  width: number;
  height: number;
  /** of its EXIF data, 1 to 8; 1: as it is stored */
  orientation: number;
}

/**
 * Decodes an image: rows of red, green, blue and alpha, one byte each. `upright`: the decoder has applied the orientation of
 * the EXIF data, as browsers do.
 */
export type ImageDecoder = (
  bytes: Uint8Array,
  type: ImageType,
) => Promise<{ width: number; height: number; data: ArrayLike<number>; upright?: boolean }>;

/** Most pixels of an image: decoding takes 8 bytes for each. */
const MOST_PIXELS = 1 << 25;
/** Most bytes of a file. */
export const MOST_IMAGE_BYTES = 64 << 20;

/** What other files are, by their first bytes. */
const OTHERS: readonly [RegExp, string][] = [
  [/^(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!doctype svg|!--)/i, "an SVG or XML text"],
  [/^\s*<(?:!doctype )?html/i, "a web page"],
  [/^GIF8/, "a GIF"],
  [/^BM/, "a BMP"],
  [/^(?:II\*\0|MM\0\*)/, "a TIFF"],
  [/^....ftyp(?:avif|avis)/s, "an AVIF"],
  [/^....ftyp(?:heic|heix|mif1|msf1)/s, "a HEIC"],
  [/^%PDF/, "a PDF"],
  [/^version https:\/\/git-lfs/, "a pointer of Git LFS, not the image"],
];

/**
 * Reads and checks the header of an image before anything is decoded.
 *
 * @param what names the image in errors: `row 3: image a.png`
 * @throws {UnsupportedError} another format, or an image that is too large
 * @throws {FormatError} a file that is cut off or has no size
 */
export function readImageHeader(bytes: Uint8Array, what: string): ImageHeader {
  const fail = (why: string) => new FormatError(`Cannot read ${what}: ${why}`);
  if (bytes.length === 0) throw fail("it is empty");
  if (bytes.length > MOST_IMAGE_BYTES)
    throw new UnsupportedError(
      `Cannot read ${what}: it has ${bytes.length} bytes; an image may have ${MOST_IMAGE_BYTES} (64 MiB)`,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = typeOf(bytes);
  if (type === null) {
    const text = latin(bytes, 0, 256);
    const other = OTHERS.find(([pattern]) => pattern.test(text))?.[1];
    const start = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new UnsupportedError(
      `Cannot read ${what}: PNG, JPEG and WebP are read, and it is ${other ?? `none of them (it begins with the bytes ${start})`}`,
    );
  }
  let header: Omit<ImageHeader, "type"> | null;
  try {
    header = { png: pngHeader, jpeg: jpegHeader, webp: webpHeader }[type](bytes, view);
  } catch (error) {
    if (error instanceof UnsupportedError) throw new UnsupportedError(`Cannot read ${what}: ${error.message}`);
    if (!(error instanceof RangeError)) throw error;
    header = null; // read past the end
  }
  if (header === null) throw fail(`the ${NAMES[type]} file is cut off or damaged`);
  const { width, height } = header;
  if (width === 0 || height === 0) throw fail(`it has ${width} × ${height} pixels`);
  if (width * height > MOST_PIXELS) {
    throw new UnsupportedError(
      `Cannot read ${what}: it has ${width} × ${height} pixels; an image may have ${MOST_PIXELS} (33.5 million). Make it smaller`,
    );
  }
  return { type, ...header };
}

const NAMES: Record<ImageType, string> = { png: "PNG", jpeg: "JPEG", webp: "WebP" };

const latin = (bytes: Uint8Array, start: number, end: number) =>
  String.fromCharCode(...bytes.subarray(start, Math.min(end, bytes.length)));

function typeOf(bytes: Uint8Array): ImageType | null {
  if (latin(bytes, 0, 8) === "\x89PNG\r\n\x1a\n") return "png";
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return "jpeg";
  return latin(bytes, 0, 4) === "RIFF" && latin(bytes, 8, 12) === "WEBP" ? "webp" : null;
}

type Header = Omit<ImageHeader, "type"> | null;

/** Walks over the chunks up to IEND. */
function pngHeader(bytes: Uint8Array, view: DataView): Header {
  if (latin(bytes, 12, 16) !== "IHDR") return null;
  const header = { width: view.getUint32(16), height: view.getUint32(20), orientation: 1 };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const size = view.getUint32(at);
    const name = latin(bytes, at + 4, at + 8);
    if (at + 12 + size > bytes.length) return null;
    if (name === "eXIf") header.orientation = orientationOf(bytes.subarray(at + 8, at + 8 + size));
    if (name === "IEND") return header;
    at += 12 + size;
  }
  return null;
}

/** Walks over the segments up to the first scan; the end marker must come after it. */
function jpegHeader(bytes: Uint8Array, view: DataView): Header {
  let size: { width: number; height: number } | null = null;
  let orientation = 1;
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) return null;
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++; // a fill byte
      continue;
    }
    const length = view.getUint16(at + 2);
    if (length < 2 || at + 2 + length > bytes.length) return null;
    if (marker === 0xe1 && latin(bytes, at + 4, at + 10) === "Exif\0\0")
      orientation = orientationOf(bytes.subarray(at + 10, at + 2 + length));
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) {
      size = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
      if (view.getUint8(at + 9) === 4)
        throw new UnsupportedError("it is a JPEG in CMYK, as for print; RGB and grey are read. Save it as RGB");
    }
    at += 2 + length;
    if (marker !== 0xda) continue;
    if (!size) return null;
    for (let end = bytes.length - 2; end >= at; end--) {
      if (bytes[end] === 0xff && bytes[end + 1] === 0xd9) return { ...size, orientation };
    }
    return null;
  }
  return null;
}

/** @see https://developers.google.com/speed/webp/docs/riff_container */
function webpHeader(bytes: Uint8Array, view: DataView): Header {
  const end = 8 + view.getUint32(4, true);
  if (end > bytes.length + 1) return null;
  let size: { width: number; height: number } | null = null;
  let orientation = 1;
  for (let at = 12; at + 8 <= Math.min(end, bytes.length); ) {
    const name = latin(bytes, at, at + 4);
    const length = view.getUint32(at + 4, true);
    const body = at + 8;
    if (body + length > bytes.length) return null;
    const three = (from: number) => view.getUint16(from, true) + (bytes[from + 2] << 16);
    if (name === "VP8X") size = { width: three(body + 4) + 1, height: three(body + 7) + 1 };
    if (name === "VP8 ")
      size ??= { width: view.getUint16(body + 6, true) & 0x3fff, height: view.getUint16(body + 8, true) & 0x3fff };
    if (name === "VP8L") {
      const bits = view.getUint32(body + 1, true);
      size ??= { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    }
    if (name === "ANIM") throw new UnsupportedError("it is an animated WebP; save one frame of it");
    if (name === "EXIF") orientation = orientationOf(bytes.subarray(body, body + length));
    at = body + length + (length % 2);
  }
  return size && { ...size, orientation };
}

/** The orientation in EXIF data, whose layout is TIFF's; 1 if there is none. */
function orientationOf(exif: Uint8Array): number {
  const start = latin(exif, 0, 6) === "Exif\0\0" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  if (view.byteLength < 8) return 1;
  const little = view.getUint16(0) === 0x4949;
  const first = view.getUint32(4, little);
  if (first + 2 > view.byteLength) return 1;
  const count = view.getUint16(first, little);
  for (let entry = first + 2; entry < first + 2 + 12 * count && entry + 12 <= view.byteLength; entry += 12) {
    if (view.getUint16(entry, little) !== 0x0112) continue;
    const value = view.getUint16(entry + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/**
 * Checks and decodes an image.
 *
 * @returns red, green, blue and alpha, and the orientation that is still to be applied
 * @throws as readImageHeader
 * @throws {FormatError} data that the decoder refuses
 */
export async function decodeImage(
  bytes: Uint8Array,
  what: string,
  decode: ImageDecoder,
): Promise<{ width: number; height: number; data: ArrayLike<number>; orientation: number }> {
  const { type, width, height, orientation } = readImageHeader(bytes, what);
  let made: Awaited<ReturnType<ImageDecoder>>;
  try {
    made = await decode(bytes, type);
  } catch (error) {
    throw new FormatError(`Cannot read ${what}: the ${NAMES[type]} decoder refuses it: ${(error as Error).message}`);
  }
  const { upright = false, ...pixels } = made;
  const turned = upright && orientation >= 5;
  const [across, down] = turned ? [height, width] : [width, height];
  if (pixels.width !== across || pixels.height !== down) {
    throw new FormatError(
      `Cannot read ${what}: its header says ${across} × ${down} pixels, and its data have ${pixels.width} × ${pixels.height}`,
    );
  }
  return { ...pixels, orientation: upright ? 1 : orientation };
}

/** A server that sends nothing for this long has failed, in milliseconds. */
const TIMEOUT_MS = 60_000;

/**
 * Downloads an image of a row.
 *
 * @throws {NetworkError} no answer, or not the file
 * @throws {UnsupportedError} more than 64 MiB
 */
export async function downloadImage(address: string): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new NetworkError(`cannot download it: ${(error as Error).message}`);
  }
  if (!response.ok) throw new NetworkError(`cannot download it: the server answers ${response.status}`);
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body!.getReader(); // Safari cannot iterate over a body
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    size += next.value.length;
    if (size > MOST_IMAGE_BYTES) {
      await reader.cancel();
      throw new UnsupportedError(`it has more than ${MOST_IMAGE_BYTES} bytes (64 MiB)`);
    }
    parts.push(next.value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
