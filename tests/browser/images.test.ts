import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { PixelsOf } from "./pages/images.ts";
import { askPage, useSeeingPage } from "./seeing.ts";

// Images in a page, with the real worker: the browser's decoders, and what a chat refuses. Answers and a run are in images.slow.ts.

declare global {
  /** of pages/images.ts */
  var pixelsOf: PixelsOf;
}

const cases = JSON.parse(readFileSync(new URL("../data/images/cases.json", import.meta.url), "utf8"));

const page = useSeeingPage();

describe("the browser's decoders", () => {
  const pixels = (file: string) => page().evaluate((values) => pixelsOf(values), [...Buffer.from(file, "base64")]);

  test("give Pillow's pixels of PNG and WebP, and nearly those of JPEG", async () => {
    for (const type of ["png", "webp", "jpeg"]) {
      const made = await pixels(cases.files[type]);
      const want = [...Buffer.from(cases.files[`${type}_rgb`], "base64")];
      expect([made.width, made.height]).toEqual([6, 4]);
      const most = Math.max(...want.map((value, i) => Math.abs(value - made.data[i])));
      expect(most, type).toBeLessThanOrEqual(type === "jpeg" ? 4 : 0);
    }
  });

  test("apply every orientation once", async () => {
    for (const { orientation, file, shape, want } of cases.orientations) {
      const made = await pixels(file);
      expect([made.height, made.width], `orientation ${orientation}`).toEqual(shape.slice(0, 2));
      const wanted = [...Buffer.from(want, "base64")];
      const far = Math.max(...wanted.map((value, i) => Math.abs(value - made.data[i])));
      expect(far, `orientation ${orientation}`).toBeLessThanOrEqual(4);
    }
  });
});

describe("a chat", () => {
  test("refuses what is no image, and an image for a model without a tower", async () => {
    await expect(askPage(page(), [new TextEncoder().encode("<svg onload='alert(1)'/>")])).rejects.toThrow(
      /it is an SVG or XML text/,
    );
    const blind = page().evaluate(async () => {
      const model = { kind: "embedded" as const };
      const images = [new Blob(["x"])];
      const request = { run: null, model, adapter: false, messages: [{ role: "user" as const, content: "?", images }] };
      for await (const _ of trainer.chat(request));
    });
    await expect(blind).rejects.toThrow(/the embedded model has no vision tower\. Remove the image, or choose a model/);
  });
});
