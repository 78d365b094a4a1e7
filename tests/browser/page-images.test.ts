import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import type { ElementHandle, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunRecord } from "../../src/client.ts";
import { png } from "../images.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Images in the page, with a trainer that needs no GPU: images.test.ts has the real one.

const web = useBrowser();
const folder = mkdtempSync(join(tmpdir(), "qwench-images-"));
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { base: "/some/where/", policy: null });
});
afterAll(async () => {
  await site.close();
  rmSync(folder, { recursive: true });
});

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const IMAGE = png(24, 16, (x) => (x < 12 ? [160, 20, 20] : [250, 250, 250]));
const SVG = Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' onload='document.title=1'/>");
/** A PNG's header that promises 50,000 × 50,000 pixels. */
const BOMB = IMAGE.slice();
new DataView(BOMB.buffer).setUint32(16, 50_000);
new DataView(BOMB.buffer).setUint32(20, 50_000);

async function open(query: string, hash: string): Promise<Page> {
  const page = await web.open(`${site.url}?step=40&seed${query}${hash}`);
  await page.waitForSelector(".ask");
  return page;
}

/** Gives files to the composer as a drop, or to its field as a paste. */
const give = (page: Page, how: "drop" | "paste", files: readonly (readonly [name: string, bytes: Uint8Array])[]) =>
  page.evaluate(
    (how, files) => {
      const data = new DataTransfer();
      for (const [name, values] of files) data.items.add(new File([Uint8Array.from(values)], name));
      const options = { bubbles: true, cancelable: true };
      const form = document.querySelector(".ask")!;
      if (how === "drop") {
        const first = new DragEvent("dragenter", { ...options, dataTransfer: data });
        form.dispatchEvent(first);
        const marked = form.classList.contains("dropping");
        const drop = new DragEvent("drop", { ...options, dataTransfer: data });
        form.dispatchEvent(drop);
        return marked && drop.defaultPrevented && !form.classList.contains("dropping");
      }
      const paste = new ClipboardEvent("paste", { ...options, clipboardData: data });
      form.querySelector("textarea")!.dispatchEvent(paste);
      return paste.defaultPrevented;
    },
    how,
    files.map(([name, bytes]) => [name, [...bytes]] as const),
  );
const thumbs = (page: Page, count: number) =>
  page.waitForFunction(
    (count) => {
      const all = [...document.querySelectorAll<HTMLImageElement>(".thumbs img")];
      return all.length === count && all.every(({ complete, naturalWidth }) => complete && naturalWidth === 24);
    },
    {},
    count,
  );
const button = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`)) as ElementHandle<HTMLButtonElement>;
const shown = (page: Page, text: string) =>
  page.waitForFunction((text) => document.querySelector(".chat")!.textContent!.includes(text), {}, text);

describe("a chat", () => {
  test("takes images by drop, paste and button, shows them, removes them, and sends the rest", async () => {
    const page = await open("", "#/runs/seed-1/result");
    expect(await give(page, "drop", [["a.png", IMAGE]])).toBe(true);
    await thumbs(page, 1);
    expect(await give(page, "paste", [["b.png", IMAGE]])).toBe(true);
    await thumbs(page, 2);
    writeFileSync(join(folder, "c.png"), IMAGE);
    const [chooser] = await Promise.all([page.waitForFileChooser(), (await button(page, "Add an image …")).click()]);
    await chooser.accept([join(folder, "c.png")]);
    await thumbs(page, 3);
    await page.evaluate(axe);
    for (const value of ["light", "dark"]) {
      await page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value },
        { name: "prefers-reduced-motion", value: "reduce" },
      ]);
      const { violations } = (await page.evaluate("axe.run('.chat')")) as AxeResults;
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`)).toEqual([]);
    }
    await (await button(page, "Remove b.png")).click();
    await thumbs(page, 2);
    await page.focus(".ask textarea");
    await page.keyboard.press("Enter"); // images alone are a message
    await shown(page, "I see 2");
    // the other pane answers too
    await page.waitForFunction(
      () => document.querySelector(".ask .primary")!.getAttribute("aria-disabled") === "false",
    );
    expect(
      await page.$$eval(".bubble.user .sent img", (all) => all.map((one) => (one as HTMLImageElement).alt)),
    ).toEqual(["a.png", "c.png"]);
    expect(await page.$$(".thumbs img")).toHaveLength(0);
    await page.waitForSelector('.ask .primary[aria-disabled="false"]'); // the answer is complete
    // a question without images is as it was
    await page.type(".ask textarea", "How many apples?");
    await page.keyboard.press("Enter");
    await shown(page, "12+5=17");
  });

  test("says what is wrong with a file, from its header", async () => {
    const page = await open("", "#/runs/seed-1/result");
    await give(page, "drop", [
      ["good.png", IMAGE],
      ["evil.png", SVG],
    ]);
    await thumbs(page, 1);
    await shown(page, "Cannot read evil.png: PNG, JPEG and WebP are read, and it is an SVG or XML text");
    await give(page, "drop", [["bomb.png", BOMB]]);
    await shown(page, "Cannot read bomb.png: it has 50000 × 50000 pixels; an image may have 33554432 (33.5 million)");
    await thumbs(page, 1);
  });

  test("a model without a tower says so; message and images stay to be changed", async () => {
    const page = await open("&fake=blind", "#/runs/seed-1/result");
    await give(page, "drop", [["a.png", IMAGE]]);
    await thumbs(page, 1);
    await page.type(".ask textarea", "What is it?");
    await page.keyboard.press("Enter");
    await shown(page, "the embedded model has no vision tower. Remove the image.");
    await thumbs(page, 1);
    expect(await page.$eval(".ask textarea", (field) => (field as HTMLTextAreaElement).value)).toBe("What is it?");
    expect(await page.$$(".bubble")).toHaveLength(0);
    await (await button(page, "Remove a.png")).click();
    await page.focus(".ask textarea");
    await page.keyboard.press("Enter");
    await shown(page, "12+5=17");
  });
});

describe("a run on rows with images", () => {
  /** Gives images to the seeded run's problems and completions. */
  const illustrate = (page: Page) =>
    page.evaluate(
      (picture) => {
        const runs: RunRecord[] = JSON.parse(localStorage.getItem("fake.runs")!);
        const run = runs.find(({ id }) => id === "seed-1")!;
        run.pictures = { one: picture, two: picture, bad: "javascript:alert(1)" };
        for (const { problems } of run.evaluations) {
          problems[0].images = ["one"];
          problems[1].images = ["bad", "gone"];
        }
        const record = {
          step: 1,
          prompt: "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Read it.<|im_end|>\n",
          completion: "4711",
          rewards: { exact: 1 },
          advantage: 0,
          finish_reason: "stop" as const,
          length: 5,
          columns: {},
        };
        const records = ["one", "one", "two", "two"].map((key) => ({ ...record, images: [key] }));
        run.completions = [{ phase: 1, step: 1, records }];
        localStorage.setItem("fake.runs", JSON.stringify(runs));
      },
      `data:image/png;base64,${Buffer.from(IMAGE).toString("base64")}`,
    );

  test("shows them beside held-out answers and beside completions, prompts apart", async () => {
    const page = await open("", "#/runs/seed-1/result");
    await illustrate(page);
    await page.reload();
    await page.waitForSelector(".problem .pictures img");
    expect(await page.$$eval(".problem", (all) => all.map((one) => one.querySelectorAll("img").length))).toEqual([
      1, 0, 0, 0,
    ]);
    await page.goto(`${site.url}?step=40&seed#/runs/seed-1`);
    await page.waitForSelector(".group .pictures img");
    const groups = await page.$$eval(".group", (all) =>
      all.map((one) => [
        one.querySelector("h3")!.textContent,
        one.querySelectorAll("img").length,
        one.querySelectorAll("li").length,
      ]),
    );
    expect(groups).toEqual([
      ["Read it.", 1, 2],
      ["Read it.", 1, 2],
    ]);
  });
});
