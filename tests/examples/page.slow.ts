import { readFileSync } from "node:fs";
import { join } from "node:path";
import { unzipSync } from "fflate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { built } from "../browser/dist.ts";
import { readSite, type Site, serve, useBrowser } from "../browser/harness.ts";
import { root } from "../docs/blocks.ts";

// examples/page.html in Chromium, with the built client and worker where `npm run build` puts them.
const web = useBrowser();
let site: Site;
beforeAll(async () => {
  const files = await built("client", "trainer.worker");
  for (const [name, content] of readSite(join(root, "assets/tiny"))) files.set(`assets/tiny/${name}`, content);
  files.set("examples/page.html", readFileSync(join(root, "examples/page.html")));
  site = await serve(files, { policy: null });
});
afterAll(() => site.close());

test("the page trains the embedded model and offers the adapter", async () => {
  const page = await web.open(`${site.url}examples/page.html?steps=2`);
  await page.locator("#train").click();
  await page.locator("a[download='Example-adapter.zip']").setTimeout(240_000).wait();
  expect(await page.$eval("#log", ({ textContent }) => textContent)).toMatch(
    /step 1: loss [\d.]+\nstep 2: loss [\d.]+/,
  );
  const zip = await page.$eval("a[download]", async ({ href }) => [
    ...new Uint8Array(await (await fetch(href)).arrayBuffer()),
  ]);
  const folder = memoryFolder();
  for (const [name, bytes] of Object.entries(unzipSync(Uint8Array.from(zip)))) await folder.write(name, bytes);
  expect((await readAdapter(folder)).config.r).toBe(16);
});
