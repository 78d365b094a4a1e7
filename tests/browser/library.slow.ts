import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeTinyModel } from "../../src/cli/sources/tiny-model.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { seeingShape } from "../../src/model/architectures/published.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { root } from "../docs/blocks.ts";
import { bundle, readSite, type Site, serve, useBrowser } from "./harness.ts";

// train() and generate() of the library in Chromium: no worker, no client.
const web = useBrowser();
let site: Site;
/** files of a tiny Qwen3.5 with a vision tower */
let seeing: string[] = [];
beforeAll(async () => {
  const files = await bundle("tests/browser/pages/library.ts");
  for (const [name, content] of readSite(join(root, "assets/tiny"))) files.set(`assets/tiny/${name}`, content);
  const model = memoryFolder("seeing");
  await writeTinyModel(model, seeingShape("Qwen/Qwen3.5-0.8B")!, nodeFolder(join(root, "assets/tiny")));
  seeing = await model.list();
  for (const name of seeing) {
    const file = await model.open(name);
    files.set(`seeing/${name}`, Buffer.from(await file.read(0, file.size)));
  }
  site = await serve(files);
});
afterAll(() => site.close());

test("trains on a File, leaves with a checkpoint, resumes from the site's storage, and writes with the adapter", async () => {
  const page = await web.open(site.url);
  const { events, losses, text, resumed } = await page.evaluate(() => trainByCalls(3));
  expect(events).toEqual(expect.arrayContaining(["plan", "start", "step", "log"]));
  expect(resumed).toBeGreaterThanOrEqual(1);
  expect(losses.length).toBeGreaterThanOrEqual(2);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(text).toEqual(expect.any(String));
});

test("mixes data sets of the site's storage, by slices and shares", async () => {
  const page = await web.open(site.url);
  const { rows, losses, refused } = await page.evaluate(() => trainOnMixture());
  expect(rows).toBe(8); // 4 of the slice, and as many of the other
  expect(losses.every(Number.isFinite) && losses.length > 0).toBe(true);
  expect(refused[0]).toMatch(/^NotFoundError: Cannot read rows from data\/none here\.jsonl: .* no such file or folder/);
});

test("trains on rows with images, given as objects with data URLs", async () => {
  const page = await web.open(site.url);
  const { losses } = await page.evaluate((names) => trainOnImages(names), seeing);
  expect(losses.length > 0 && losses.every(Number.isFinite)).toBe(true);
});

test("GRPO asks a judge with a key of the call; modules and Python are refused with what to do", async () => {
  const page = await web.open(site.url);
  const { asked, rewards, refused } = await page.evaluate(() => trainByJudge());
  expect(asked.length).toBeGreaterThan(0);
  expect(new Set(asked)).toEqual(new Set(["Bearer sk-1"]));
  expect(rewards.length > 0 && rewards.every((reward) => reward >= 0 && reward <= 1)).toBe(true);
  expect(refused[0]).toMatch(/^UnsupportedError: .*mine\.js:exact in a page: import it, .* the option rewards/);
  expect(refused[1]).toMatch(/^UnsupportedError: Cannot run Python by the library in a page: createTrainer/);
});
