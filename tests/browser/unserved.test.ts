import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, type SiteFiles, serve, useBrowser } from "./harness.ts";
import { builtPage } from "./page-site.ts";

// The page in places where it cannot train: over plain http from another machine, and opened as a file.

const web = useBrowser({ flags: ["--host-resolver-rules=MAP qwench.test 127.0.0.1"] });
let files: SiteFiles;
let site: Site;
beforeAll(async () => {
  files = await builtPage();
  site = await serve(files, { policy: null });
});
afterAll(() => site.close());

test("over plain http from another machine, shows only the reason and how to serve it", async () => {
  const page = await web.open(site.url.replace("127.0.0.1", "qwench.test"));
  const port = new URL(site.url).port;
  const sentence = `Cannot train on this page: browsers offer WebGPU and storage only to pages from https:// or localhost, and this page came from http://qwench.test:${port}; serve it over https, or open http://localhost:8000/ after ssh -L 8000:localhost:${port} qwench.test`;
  const problems = () =>
    page.$$eval(".notice.error, .notice.warning", (found) => found.map((element) => element.textContent ?? ""));
  await page.waitForFunction((text) => document.body.textContent!.includes(text), {}, sentence);
  expect((await problems()).filter((text) => !text.includes(sentence))).toEqual([]);
  for (const view of ["#/runs", "#/storage"]) {
    await page.evaluate((hash) => void (location.hash = hash), view);
    await page.waitForFunction(() => !/Looking|…$/.test(document.querySelector("main")!.textContent!));
    expect(await page.evaluate(() => document.body.textContent)).not.toMatch(/undefined|is not a function/);
  }
  await page.evaluate(() => void (location.hash = "#/storage"));
  await page.waitForFunction((text) => document.querySelector("main")!.textContent!.includes(text), {}, sentence);
});

test("opened as a file, shows the reason and how to serve it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "qwench page #% ü-"));
  try {
    for (const [name, content] of files) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    web.expectFault(/blocked by CORS policy/);
    web.expectFault(/ERR_FAILED/);
    const page = await web.open(pathToFileURL(join(folder, "index.html")).href);
    // biome-ignore lint/performance/useDomNodeTextContent: what is seen, not what is there
    expect(await page.evaluate(() => document.body.innerText)).toMatch(
      /opened from a file, and browsers do not load the page.s scripts from files. Serve its folder, for example with npx serve/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("served on localhost, shows no such message", async () => {
  const page = await web.open(site.url);
  await page.waitForSelector("main h1");
  expect(await page.evaluate(() => document.body.textContent)).not.toContain("opened from a file");
});
