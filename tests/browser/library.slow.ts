import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { root } from "../docs/blocks.ts";
import { bundle, readSite, type Site, serve, useBrowser } from "./harness.ts";

// train() and generate() of the library in Chromium: no worker, no client.
const web = useBrowser();
let site: Site;
beforeAll(async () => {
  const files = await bundle("tests/browser/pages/library.ts");
  for (const [name, content] of readSite(join(root, "assets/tiny"))) files.set(`assets/tiny/${name}`, content);
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
