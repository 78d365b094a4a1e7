import { readFileSync } from "node:fs";
import { unzipSync } from "fflate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { built } from "../browser/dist.ts";
import { readSite, type Site, serve, useBrowser } from "../browser/harness.ts";
import { notebookPath } from "./notebook.ts";

const { version } = JSON.parse(readFileSync(notebookPath("../../package.json"), "utf8"));
const CDN = `https://cdn.jsdelivr.net/npm/qwench@${version}/`;

/** What Observable gives to cells. Cells share their variables, so they run as one module. */
const SURROUNDINGS = `
const invalidation = new Promise(() => {});
const display = (shown) => (document.body.append(shown), shown);
const Plot = {
  ruleY: (values) => ({ values }),
  lineY: (rows, { x, y }) => ({ rows: rows.map((row) => [row[x], row[y]]) }),
  plot: ({ marks }) => Object.assign(document.createElement("output"), { value: JSON.stringify(marks[1].rows) }),
};
`;

const web = useBrowser();
let cdn: Site;
let site: Site;
beforeAll(async () => {
  const packaged = await built("client", "trainer.worker");
  for (const [name, content] of readSite(notebookPath("../../assets/tiny")))
    packaged.set(`assets/tiny/${name}`, content);
  cdn = await serve(packaged, { policy: null, cors: true });
  const page = readFileSync(notebookPath("observable.md"), "utf8");
  const cells = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, source]) => source.replaceAll(CDN, cdn.url));
  expect(cells).toHaveLength(6);
  site = await serve(
    new Map([
      ["index.html", '<!doctype html><title>Observable</title><body><script type="module" src="./cells.js"></script>'],
      ["cells.js", `${SURROUNDINGS}${cells.join("\n")}`],
    ]),
    { policy: null },
  );
});
afterAll(() => Promise.all([cdn.close(), site.close()]));

test("the Observable cells train from a CDN, draw the curve, and offer the adapter", async () => {
  const page = await web.open(`${site.url}?steps=2`);
  await page.locator("a[download='Observable-adapter.zip']").wait();
  expect(await page.evaluate(() => document.body.textContent)).toMatch(/^Running on .*SwiftShader/i);
  const rows: [number, number][] = JSON.parse(await page.$eval("output", ({ value }) => value));
  expect(rows.map(([step]) => step)).toEqual([1, 2]);
  expect(rows.every(([, loss]) => loss > 0)).toBe(true);

  const zip = await page.$eval("a[download]", async ({ href }) => [
    ...new Uint8Array(await (await fetch(href)).arrayBuffer()),
  ]);
  const folder = memoryFolder();
  for (const [name, bytes] of Object.entries(unzipSync(Uint8Array.from(zip)))) await folder.write(name, bytes);
  expect((await readAdapter(folder)).config.r).toBe(16);
});
