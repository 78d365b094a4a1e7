import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { upright, withoutAlpha } from "../../../src/data/images/pixels.ts";
import { parseProcessor, processImage, smartResize } from "../../../src/data/images/processor.ts";
import { resizeBicubic } from "../../../src/data/images/resize.ts";

// made with Pillow 12.3 and transformers 5.18; scripts/oracle/images.ts compares whole images with them
const cases = JSON.parse(readFileSync(new URL("cases.json", import.meta.url), "utf8"));
const bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const SIZES = { patch_size: 16, temporal_patch_size: 2, merge_size: 2 };

describe("resizing", () => {
  it.each(cases.resize as { width: number; height: number; data: string; to: [number, number]; want: string }[])(
    "$width × $height pixels to $to gives Pillow's bytes",
    ({ width, height, data, to, want }) => {
      const made = resizeBicubic({ width, height, data: bytes(data) }, ...to);
      expect([made.width, made.height]).toEqual(to);
      expect([...made.data]).toEqual([...bytes(want)]);
    },
  );

  it("takes the sides that transformers takes", () => {
    for (const [width, height, shortest_edge, longest_edge, w, h] of cases.sizes as number[][]) {
      const processor = parseProcessor({ size: { shortest_edge, longest_edge } }, SIZES);
      expect(smartResize({ width, height }, processor), `${width} × ${height}`).toEqual({ width: w, height: h });
    }
    const processor = parseProcessor(null, SIZES);
    expect(() => smartResize({ width: 1000, height: 4 }, processor)).toThrow(
      "Cannot use an image of 1000 × 4 pixels: one side may be at most 200 times the other",
    );
  });
});

describe("patches", () => {
  it("lie block by block, colour by colour, every frame alike, normalised", () => {
    const processor = parseProcessor(
      { size: { shortest_edge: 1, longest_edge: 4096 }, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.25, 1] },
      { patch_size: 2, temporal_patch_size: 2, merge_size: 2 },
    );
    // 8 × 4 pixels: the red is the column, the green the row
    const data = new Uint8Array(3 * 32);
    for (let i = 0; i < 32; i++) data.set([i % 8, 10 * Math.floor(i / 8), 255], 3 * i);
    const { pixels, grid } = processImage({ width: 8, height: 4, data }, processor);
    expect(grid).toEqual([1, 2, 4]);
    expect(pixels).toHaveLength(8 * 24);
    const of = (patch: number, at: number) => pixels[24 * patch + at];
    // patch 5 is the second of the second block: columns 6 and 7, rows 0 and 1
    const red = [6, 7, 6, 7].map((v) => (v / 255 - 0.5) / 0.5);
    red.forEach((want, i) => {
      expect(of(5, i)).toBeCloseTo(want, 6);
      expect(of(5, 4 + i)).toBeCloseTo(want, 6);
    });
    [0, 0, 10, 10].forEach((v, i) => {
      expect(of(5, 8 + i)).toBeCloseTo((v / 255 - 0.5) / 0.25, 6);
    });
    expect(of(5, 23)).toBeCloseTo(0.5, 6);
    expect(of(2, 0)).toBeCloseTo((0 - 0.5) / 0.5, 6); // the third patch of a block is below its first
    expect(of(2, 8)).toBeCloseTo((20 / 255 - 0.5) / 0.25, 6);
  });
});

describe("preprocessor_config.json", () => {
  it("is read in old and new spellings", () => {
    expect(parseProcessor({ min_pixels: 3136, max_pixels: 12_845_056 }, SIZES).size).toEqual({
      shortest_edge: 3136,
      longest_edge: 12_845_056,
    });
    expect(parseProcessor(null, SIZES)).toMatchObject({ ...SIZES, image_mean: [0.5, 0.5, 0.5] });
  });

  it.each([
    [{ image_processor_type: "CLIPImageProcessor" }, 'image_processor_type is "CLIPImageProcessor"'],
    [{ do_resize: false }, "do_resize is false; it must be true"],
    [{ resample: 2 }, "resample is 2; it must be 3, bicubic"],
    [{ rescale_factor: 1 }, "rescale_factor is 1; it must be 1/255"],
    [{ patch_size: 14 }, "patch_size is 14; the model's vision_config has 16"],
    [{ size: { shortest_edge: 0 } }, "size.shortest_edge must be a positive integer, got 0"],
    [{ image_std: [0, 1, 1] }, "image_std must be three positive numbers"],
  ])("is refused with %j", (json, message) => {
    expect(() => parseProcessor(json, SIZES)).toThrow(message);
  });
});

it("turns and mirrors by orientation as Pillow does, and drops alpha", () => {
  const plain = cases.orientations[0];
  const [height, width] = plain.shape;
  const stored = { width, height, data: bytes(plain.want) };
  for (const { orientation, shape, want } of cases.orientations) {
    const made = upright(stored, orientation);
    expect([made.height, made.width], String(orientation)).toEqual(shape);
    expect([...made.data], String(orientation)).toEqual([...bytes(want)]);
  }
  expect([...withoutAlpha({ width: 2, height: 1, data: [1, 2, 3, 0, 4, 5, 6, 255] }).data]).toEqual([1, 2, 3, 4, 5, 6]);
});
