import { describe, expect, it } from "vitest";
import { readFonts } from "../../scripts/ocr/fonts.ts";
import { coverage, polygonsOf } from "../../scripts/ocr/raster.ts";
import { renderLine } from "../../scripts/ocr/render.ts";
import { drawRows, type OcrSet, parquetOf, writeJsonl } from "../../scripts/ocr/rows.ts";
import { TEXTS, textsOf } from "../../scripts/ocr/texts.ts";
import { readRows } from "../../src/data/dataset.ts";
import { takeImages } from "../../src/data/images/rows.ts";
import { decodeImage } from "../../src/io/images.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { decodeNodeImage } from "../../src/platform/node/images.ts";
import { uniformFrom } from "../../src/train/seed.ts";

const fonts = readFonts();
const style = { size: [18, 24], rotation: 4, noise: 0.05, canvas: null } as const;
const set: OcrSet = { text: TEXTS.digits, fonts, style, rows: 30, test: 10, question: "Read.", seed: 3 };

describe("rasterising", () => {
  it("gives the exact share of each pixel that a polygon covers", () => {
    const rectangle = [[1.25, 0.5], [3.5, 0.5], [3.5, 2], [1.25, 2]] as const; // biome-ignore format: a line
    expect([...coverage([rectangle], 5, 3)]).toEqual([0, 0.375, 0.5, 0.25, 0, 0, 0.75, 1, 0.5, 0, 0, 0, 0, 0, 0]);
    const triangle = [[0, 0], [4, 4], [0, 4]] as const; // biome-ignore format: a line
    const shares = coverage([triangle], 4, 4);
    for (let y = 0; y < 4; y++) {
      for (let x = 0; x < 4; x++) expect(shares[4 * y + x]).toBeCloseTo(x < y ? 1 : x === y ? 0.5 : 0, 6);
    }
  });

  it("leaves holes out, and adds up to the area of any outline", () => {
    const square = (from: number, to: number) => [[from, from], [to, from], [to, to], [from, to]] as const; // biome-ignore format: a line
    const ring = coverage([square(1, 9), [...square(3, 7)].reverse()], 10, 10);
    expect(ring.reduce((sum, share) => sum + share, 0)).toBeCloseTo(64 - 16, 4);
    expect(ring[5 * 10 + 5]).toBe(0);
    const kappa = 0.5523;
    const arc = (x: number, y: number, x1: number, y1: number, x2: number, y2: number) => ({ type: "C" as const, x, y, x1, y1, x2, y2 }); // biome-ignore format: a line
    const circle = polygonsOf(
      [
        { type: "M", x: 1, y: 0 },
        arc(0, 1, 1, kappa, kappa, 1),
        arc(-1, 0, -kappa, 1, -1, kappa),
        arc(0, -1, -1, -kappa, -kappa, -1),
        arc(1, 0, kappa, -1, 1, -kappa),
        { type: "Z" },
      ],
      ([x, y]) => [20 + 15.3 * x, 20 + 15.3 * y],
    );
    const area = coverage(circle, 40, 40).reduce((sum, share) => sum + share, 0);
    expect(area / (Math.PI * 15.3 ** 2)).toBeCloseTo(1, 1.5);
  });
});

describe("drawing rows", () => {
  it("gives the same rows for the same seed, other rows for another, and test texts of their own", () => {
    const made = drawRows(set);
    expect(drawRows(set)).toEqual(made);
    expect(drawRows({ ...set, seed: 4 }).train[0].png).not.toEqual(made.train[0].png);
    expect(drawRows({ ...set, rows: 5 }).train).toEqual(made.train.slice(0, 5));
    const train = new Set(made.train.map(({ text }) => text));
    expect(made.test.some(({ text }) => train.has(text))).toBe(false);
    expect(made.train.every(({ text }) => /^\d{2,3}$/.test(text))).toBe(true);
  });

  it("draws text inside the image: ink in the middle, paper at the edges", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { width, height, pixels } = renderLine("804", fonts[seed % 4], { ...style, noise: 0 }, uniformFrom(seed));
      const sums = Array.from(
        { length: width * height },
        (_, i) => pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2],
      );
      const edge = sums.filter(
        (_, i) => i % width === 0 || i % width === width - 1 || i < width || i >= width * (height - 1),
      );
      const paper = sums[0];
      expect(edge.every((sum) => sum === paper)).toBe(true);
      expect(Math.min(...sums)).toBeLessThan(paper - 200);
    }
  });

  it("says what it cannot draw", () => {
    const random = uniformFrom(1);
    expect(() => renderLine("漢", fonts[0], style, random)).toThrow("LiberationSans-Bold.ttf has no 漢");
    expect(() => renderLine("1234", fonts[0], { ...style, canvas: [20, 20] }, random)).toThrow("use a smaller size");
    expect(() => drawRows({ ...set, text: textsOf("a\nb\n"), rows: 4, test: 2 })).toThrow("Cannot draw");
    expect(() => drawRows({ ...set, text: () => "漢" })).toThrow("no font has all of its characters");
    expect(() => readFonts([import.meta.filename])).toThrow("it is not a TrueType or OpenType font");
    expect(() => textsOf(" \n")).toThrow("no line with text");
  });

  it("writes JSON Lines and Parquet that hold the same images and turns", async () => {
    const { test } = drawRows({ ...set, rows: 1 });
    const folder = memoryFolder("rows");
    await writeJsonl(folder, "test", test, "Read.");
    await folder.write("test.parquet", parquetOf(test, "Read."));
    for (const name of ["test.jsonl", "test.parquet"]) {
      const source = await folder.open(name);
      let number = 0;
      for await (const row of readRows(source)) {
        const { text, png } = test[number++];
        const { images, row: rest } = takeImages(row)!;
        expect(rest.messages).toMatchObject([{ role: "user" }, { role: "assistant", content: text }]);
        const [image] = images;
        const bytes =
          "bytes" in image ? image.bytes : await folder.open(image.address).then((file) => file.read(0, file.size));
        expect(bytes).toEqual(png);
        await expect(decodeImage(bytes, name, decodeNodeImage)).resolves.toMatchObject({ orientation: 1 });
      }
      expect(number).toBe(10);
    }
  });
});
