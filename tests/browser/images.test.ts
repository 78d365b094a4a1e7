import { readFileSync } from "node:fs";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Job, RunEvent } from "../../src/client.ts";
import { nodeImages } from "../../src/platform/node/image-files.ts";
import { Conversation } from "../../src/session/chat.ts";
import { loadText, prepareText, respond, settingsOf } from "../../src/session/generate.ts";
import { Images } from "../../src/session/images.ts";
import { ownGpu } from "../gpu/open.ts";
import { grey, png, seeingModel } from "../images.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import type { PixelsOf } from "./pages/images.ts";
import { makeTrainer, QUICK, start, trainerSite } from "./trainer.ts";

// Images in a page, with the real worker: the browser's decoders, a chat, and a run whose held-out rows have images.

declare global {
  /** of pages/images.ts */
  var pixelsOf: PixelsOf;
}

const cases = JSON.parse(readFileSync(new URL("../data/images/cases.json", import.meta.url), "utf8"));
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const stripes = png(40, 24, (x) => (x % 8 < 4 ? [20, 20, 60] : [240, 240, 200]));
const QUESTION = "How many?";

const web = useBrowser({ keepPages: true });
let site: Site;
let page: Page;
beforeAll(async () => {
  const files = await trainerSite(undefined, "tests/browser/pages/images.ts");
  const folder = await seeingModel();
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files.set(`seeing/${name}`, await source.read(0, source.size));
  }
  site = await serve(files);
  page = await web.open(site.url);
  await makeTrainer(page);
  await page.evaluate(
    async (names) => {
      const files = names.map(async (name) => new File([await (await fetch(`seeing/${name}`)).blob()], name));
      Object.assign(globalThis, { seeing: { kind: "files", name: "seeing", files: await Promise.all(files) } });
    },
    await folder.list(),
  );
});
afterAll(() => site.close());

/** Asks the model that sees, in the page. */
function ask(images: readonly Uint8Array[]): Promise<string> {
  return page.evaluate(
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
  const pixels = (file: string) => page.evaluate((values) => pixelsOf(values), [...Buffer.from(file, "base64")]);

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
    const blind = page.evaluate(async () => {
      const model = { kind: "embedded" as const };
      const images = [new Blob(["x"])];
      const request = { run: null, model, adapter: false, messages: [{ role: "user" as const, content: "?", images }] };
      for await (const _ of trainer.chat(request));
    });
    await expect(blind).rejects.toThrow(/the embedded model has no vision tower\. Remove the image, or choose a model/);
  });
});

test("a run on rows with images solves held-out rows with them, and its record has their pictures", async () => {
  const url = (bytes: Uint8Array) => `data:image/png;base64,${base64(bytes)}`;
  const row = (image: Uint8Array, answer: string) => ({
    images: [url(image)],
    messages: [
      { role: "user", content: QUESTION },
      { role: "assistant", content: answer },
    ],
  });
  const dark = row(grey(32, 32, 30), "3");
  const lines = [dark, row(grey(32, 24, 220), "5"), row(stripes, "7"), dark].map((one) => `${JSON.stringify(one)}\n`);
  const made = await page.evaluate(
    async (lines, recipe) => {
      const { seeing: model } = globalThis as unknown as { seeing: Job["model"] };
      const data = { kind: "file" as const, file: new File(lines, "lines.jsonl") };
      const job: Job = {
        name: "Reading",
        model,
        phases: [{ method: "sft", data, recipe }],
        evaluate: { data, problems: 2 },
      };
      const { columnsTaken, problem, rows } = await trainer.data.preview(data);
      return { id: await trainer.runs.create(job), columnsTaken, problem, cell: rows[0].at(-1) };
    },
    lines,
    { ...QUICK.sft, max_steps: 2, max_length: null, lora_target_modules: ["all-linear"] },
  );
  expect(made).toMatchObject({ columnsTaken: { messages: "messages" }, problem: null });
  expect(made.cell).toBe(`user: ${QUESTION}\nassistant: 3`);
  const { events, error } = await start(page, made.id);
  expect(error).toBeNull();
  const evaluated = events.filter(
    (event): event is Extract<RunEvent, { type: "evaluated" }> => event.type === "evaluated",
  );
  expect(evaluated.map(({ evaluation }) => evaluation.stage)).toEqual(["base", "sft"]);
  const record = await page.evaluate((id) => trainer.runs.get(id), made.id);
  const problems = record.evaluations[1].problems;
  expect(problems).toMatchObject([
    { question: QUESTION, gold: "3" },
    { question: QUESTION, gold: "5" },
  ]);
  expect(problems[0].images![0]).not.toBe(problems[1].images![0]);
  for (const { images } of problems) expect(record.pictures![images![0]]).toMatch(/^data:image\/(webp|png);base64,/);
  const { items } = await page.evaluate(() => trainer.storage.usage());
  expect(items.find(({ id }) => id === "features")?.bytes).toBeGreaterThan(0);
});
