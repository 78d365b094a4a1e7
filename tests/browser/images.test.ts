import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { nodeImages } from "../../src/platform/node/image-files.ts";
import { Conversation } from "../../src/session/chat.ts";
import { loadText, prepareText, respond, settingsOf } from "../../src/session/generate.ts";
import { Images } from "../../src/session/images.ts";
import { ownGpu } from "../gpu/open.ts";
import { seeingModel } from "../images.ts";
import type { PixelsOf } from "./pages/images.ts";
import { base64, QUESTION, stripes, useSeeingPage } from "./seeing.ts";

// Images in a page, with the real worker: the browser's decoders and a chat. A run is in images.slow.ts.

declare global {
  /** of pages/images.ts */
  var pixelsOf: PixelsOf;
}

const cases = JSON.parse(readFileSync(new URL("../data/images/cases.json", import.meta.url), "utf8"));

const page = useSeeingPage();

/** Asks the model that sees, in the page. */
function ask(images: readonly Uint8Array[]): Promise<string> {
  return page().evaluate(
    async (images, question) => {
      const model = (globalThis as unknown as { seeing: never }).seeing;
      const blobs = images.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
      const messages = [{ role: "user" as const, content: question, images: blobs }];
      const request = { run: null, model, adapter: false, messages, temperature: 0, max_new_tokens: 8 };
      let text = "";
      for await (const event of trainer.chat(request)) if (event.type === "text") text += event.text;
      return text;
    },
    images.map(base64),
    QUESTION,
  );
}

/** The same answer in Node. */
async function askNode(png: Uint8Array): Promise<string> {
  const sources = { gpu: await ownGpu(), model: await seeingModel(), vision: true };
  const text = await loadText(await prepareText(sources), sources);
  const images = (await Images.open(nodeImages(), text.checkpoint, text.config))!;
  const messages = [{ role: "user", content: [{ type: "image", bytes: png }] }];
  const row = await images.row({ row: { messages }, number: 1, file: "rows" });
  const chat = new Conversation(text, null);
  const { ids } = chat.ask(QUESTION, 8, row.images!.map((image) => ({ name: "image", image }))); // biome-ignore format: one call
  const prompt = { prompt_ids: ids, images: await images.seen(text.model, row) };
  const settings = settingsOf(text.defaults, { temperature: 0, max_new_tokens: 8 }, 0);
  let said = "";
  for await (const event of respond(text, [prompt], settings)) if (event.type === "text") said += event.text;
  return said;
}

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
  test("answers about an image as Node does, and differently without it", async () => {
    const seen = await ask([stripes]);
    expect(seen).toBe(await askNode(stripes));
    expect(await ask([])).not.toBe(seen);
  });

  test("refuses what is no image, and an image for a model without a tower", async () => {
    await expect(ask([new TextEncoder().encode("<svg onload='alert(1)'/>")])).rejects.toThrow(
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
