import { readFileSync } from "node:fs";
import { zlibSync } from "fflate";
import { beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { decodeImage } from "../../src/io/images.ts";
import { openModel } from "../../src/model/files/open.ts";
import { decodeNodeImage } from "../../src/platform/node/images.ts";
import { Images } from "../../src/session/images.ts";
import { cpuTime } from "../cpu-time.ts";
import { grey, png, seeingModel } from "../images.ts";

const cases = JSON.parse(readFileSync(new URL("../data/images/cases.json", import.meta.url), "utf8"));
const bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const text = (value: string) => new TextEncoder().encode(value);

/** A PNG with another size in its header. */
function resized(width: number, height: number): Uint8Array {
  const file = grey(16, 16, 9);
  const view = new DataView(file.buffer, file.byteOffset);
  view.setUint32(16, width);
  view.setUint32(20, height);
  return file;
}

/** A WebP whose canvas has this size. */
function webpCanvas(width: number, height: number): Uint8Array {
  const file = new Uint8Array(30);
  file.set(text("RIFF"), 0);
  file.set(text("WEBPVP8X"), 8);
  const view = new DataView(file.buffer);
  view.setUint32(4, 22, true);
  view.setUint32(16, 10, true);
  const three = (at: number, value: number) => file.set([value & 255, (value >> 8) & 255, value >> 16], at);
  three(24, width - 1);
  three(27, height - 1);
  return file;
}

/** A JPEG with another size in its frame. */
function jpegFrame(width: number, height: number): Uint8Array {
  const file = bytes(cases.files.jpeg);
  const at = file.findIndex((byte, i) => byte === 0xff && (file[i + 1] & 0xfc) === 0xc0);
  new DataView(file.buffer, file.byteOffset).setUint16(at + 5, height);
  new DataView(file.buffer, file.byteOffset).setUint16(at + 7, width);
  return file;
}

/** A PNG of 16 × 16 pixels whose data unpack to 64 MB. */
function inflating(): Uint8Array {
  const file = grey(16, 16, 9);
  const data = zlibSync(new Uint8Array(64 << 20), { level: 9 });
  const made = new Uint8Array(file.length + data.length + 12);
  const start = 33; // after the header
  made.set(file.subarray(0, start));
  const view = new DataView(made.buffer);
  view.setUint32(start, data.length);
  made.set(text("IDAT"), start + 4);
  made.set(data, start + 8);
  made.set(file.subarray(start), start + 12 + data.length);
  return made;
}

const PNG = grey(64, 64, 9);
const JPEG = bytes(cases.files.jpeg);
const HOSTILE: [string, Uint8Array, RegExp][] = [
  ["a PNG of 50,000 × 50,000", resized(50_000, 50_000), /it has 50000 × 50000 pixels; an image may have 33554432/],
  ["a PNG of 2³¹ pixels a side", resized(2 ** 31 - 1, 2 ** 31 - 1), /an image may have 33554432/],
  ["a PNG of one line", resized(2 ** 25, 1), /one side may be at most 200 times the other/],
  ["a JPEG of 50,000 × 50,000", jpegFrame(50_000, 50_000), /it has 50000 × 50000 pixels/],
  ["a WebP of 50,000 × 50,000", webpCanvas(50_000, 50_000), /it has 50000 × 50000 pixels/],
  ["a PNG that is cut off", PNG.subarray(0, PNG.length / 2), /the PNG file is cut off or damaged/],
  ["a JPEG that is cut off", JPEG.subarray(0, JPEG.length - 9), /the JPEG file is cut off or damaged/],
  ["a WebP that is cut off", bytes(cases.files.webp).subarray(0, 24), /the WebP file is cut off or damaged/],
  ["text with the name of an image", text("hello"), /PNG, JPEG and WebP are read/],
  ["an SVG with a script", text('<svg xmlns="http://www.w3.org/2000/svg"><script>while(1);</script></svg>'), /an SVG or XML text/], // biome-ignore format: a line
  ["an SVG of nested entities", text(`<!DOCTYPE svg [<!ENTITY a "aaaa">${'<!ENTITY b "&a;&a;">'.repeat(99)}]><svg/>`), /an SVG or XML text/], // biome-ignore format: a line
  [
    "a JPEG in CMYK",
    bytes(cases.files.cmyk),
    /it is a JPEG in CMYK, as for print; RGB and grey are read. Save it as RGB/,
  ],
  ["nothing", new Uint8Array(), /an image must be a path, a URL, bytes/],
];

/** Most processor time for one file, in seconds, and most memory for all, in bytes: what the product promises. */
const MOST_SECONDS = 5;
const MOST_BYTES = 300 << 20;

describe("hostile images in rows", () => {
  let images: Images;
  let decoded = 0;
  beforeAll(async () => {
    const model = await seeingModel();
    const access = {
      cache: null,
      read: () => Promise.reject(new Error("no path is read")),
      decode: () => {
        decoded++;
        return Promise.reject(new Error("nothing is decoded"));
      },
    };
    images = (await Images.open(access, await openCheckpoint(model), (await openModel(model)).config))!;
  });

  it.each(HOSTILE)("%s is refused with its row before anything is decoded", async (_, file, message) => {
    const [memory, spent] = [process.resourceUsage().maxRSS, cpuTime()];
    const row = { messages: [{ role: "user", content: [{ type: "image", bytes: file }] }] };
    const error = await images.row({ row, number: 7, file: "rows.jsonl" }).catch((reason: Error) => reason);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain("rows.jsonl, row 7");
    expect(decoded).toBe(0);
    expect(spent()).toBeLessThan(MOST_SECONDS);
    expect(1024 * (process.resourceUsage().maxRSS - memory)).toBeLessThan(MOST_BYTES);
  });

  it("whose data are larger or smaller than the header says stop the decoder, which reads the next image", async () => {
    const large = inflating();
    const short = PNG.slice();
    short.copyWithin(60, 70); // the data no longer fit their checksum
    const [memory, spent] = [process.resourceUsage().maxRSS, cpuTime()];
    const read = (file: Uint8Array) =>
      decodeImage(file, "a", decodeNodeImage).then(
        ({ width, height }) => `${width} × ${height}`,
        (error: Error) => error.message,
      );
    // a decoder may stop after as many lines as the header says
    expect(await read(large)).toMatch(/^16 × 16$|the PNG decoder refuses it/);
    expect(await read(short)).toMatch(/Cannot read a/);
    expect(await read(png(4, 4, () => [1, 2, 3]))).toBe("4 × 4");
    expect(spent()).toBeLessThan(3 * MOST_SECONDS);
    expect(1024 * (process.resourceUsage().maxRSS - memory)).toBeLessThan(MOST_BYTES);
  });

  it("are data errors or errors of formats, never others", async () => {
    const row = { messages: [{ role: "user", content: [{ type: "image", image: "data:image/png,plain" }] }] };
    await expect(images.row({ row, number: 1, file: "a" })).rejects.toBeInstanceOf(DataError);
  });
});
