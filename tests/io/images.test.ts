import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { withoutAlpha } from "../../src/data/images/pixels.ts";
import { decodeImage, readImageHeader } from "../../src/io/images.ts";
import { decodeNodeImage } from "../../src/platform/node/images.ts";
import { png } from "../images.ts";

const cases = JSON.parse(readFileSync(new URL("../data/images/cases.json", import.meta.url), "utf8"));
const bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const text = (value: string) => new TextEncoder().encode(value);

describe("headers", () => {
  it("tell size and orientation of PNG, JPEG and WebP", () => {
    for (const type of ["png", "jpeg", "webp"]) {
      expect(readImageHeader(bytes(cases.files[type]), "a")).toEqual({ type, width: 6, height: 4, orientation: 1 });
    }
    for (const { file, orientation } of cases.orientations) {
      expect(readImageHeader(bytes(file), "a").orientation).toBe(orientation);
    }
  });

  it("of bombs are refused before anything is decoded", () => {
    const bomb = png(1, 1, () => [0, 0, 0]);
    new DataView(bomb.buffer, bomb.byteOffset).setUint32(16, 50_000);
    new DataView(bomb.buffer, bomb.byteOffset).setUint32(20, 50_000);
    expect(() => readImageHeader(bomb, "row 1: image 1")).toThrow(
      "Cannot read row 1: image 1: it has 50000 × 50000 pixels; an image may have 33554432 (33.5 million). Make it smaller",
    );
    new DataView(bomb.buffer, bomb.byteOffset).setUint32(16, 0);
    expect(() => readImageHeader(bomb, "a")).toThrow("it has 0 × 50000 pixels");
  });

  it("of files that are cut off at any byte never pass, or hang", () => {
    for (const type of ["png", "jpeg", "webp"]) {
      const whole = bytes(cases.files[type]);
      for (let size = 0; size < whole.length; size++) {
        if (type === "webp" && size === whole.length - 1) continue; // a padding byte
        expect(() => readImageHeader(whole.subarray(0, size), "a"), `${type} ${size}`).toThrow("Cannot read a");
      }
    }
  });

  it.each([
    [text('<?xml version="1.0"?><svg onload="alert(1)"/>'), "it is an SVG or XML text"],
    [text("<!doctype html><p>404"), "it is a web page"],
    [text("GIF89a"), "it is a GIF"],
    [text("version https://git-lfs.github.com/spec/v1"), "it is a pointer of Git LFS"],
    [Uint8Array.of(1, 2, 3, 4), "it begins with the bytes 01 02 03 04"],
    [new Uint8Array(), "it is empty"],
  ])("of other files are told by their first bytes", (file, message) => {
    expect(() => readImageHeader(file, "a")).toThrow(message);
  });
});

describe("decoding in Node", () => {
  it("gives Pillow's pixels", async () => {
    for (const type of ["png", "webp", "jpeg"]) {
      const { data, width, height } = await decodeImage(bytes(cases.files[type]), "a", decodeNodeImage);
      const made = withoutAlpha({ data, width, height });
      expect([...made.data], type).toEqual([...bytes(cases.files[`${type}_rgb`])]);
    }
  });

  it("says what is wrong with data that a decoder refuses, and decodes the next image", async () => {
    for (const type of ["png", "jpeg", "webp"]) {
      const whole = bytes(cases.files[type]);
      const damaged = whole.slice();
      if (type === "png") damaged.fill(0xaa, whole.length - 30, whole.length - 12);
      if (type === "jpeg") damaged.fill(0, 22, 60); // tables
      if (type === "webp") damaged.fill(0xff, 26, whole.length - 1);
      const read = decodeImage(damaged, "row 2: image 1", decodeNodeImage);
      await expect(read, type).rejects.toThrow(/^Cannot read row 2: image 1: /);
      expect((await decodeImage(whole, "a", decodeNodeImage)).width).toBe(6);
    }
  });
});
