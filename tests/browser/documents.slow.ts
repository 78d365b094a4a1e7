import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pdf } from "../data/documents/files.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { builtPage } from "./page-site.ts";

// With the real worker on SwiftShader: a PDF dropped, pairs by the embedded model under the JSON grammar, two edited, and a step
// of training on them.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await builtPage(), { policy: null });
});
afterAll(() => site.close());

const MINUTES = 60_000;
const by = async (page: Page, name: string, role: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`))!;
const shown = (page: Page, pattern: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    { timeout: 10 * MINUTES, polling: 400 },
    pattern.source,
  );

test("a PDF dropped, pairs made by the embedded model, two edited, trained on", { timeout: 20 * MINUTES }, async () => {
  const page = await web.open(`${site.url}#/documents`);
  const facts = pdf(["The pump lifts 40 litres. The boiler holds 900 litres.", "Ms Ruiz has the key."]);
  await (await page.waitForSelector(".drop"))!.evaluate((zone, text) => {
    const dataTransfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    dataTransfer.items.add(new File([bytes], "plant.pdf"));
    zone.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  }, Buffer.from(facts).toString("base64"));
  await shown(page, /plant\.pdf.*PDF · 2 pages/);
  await (await by(page, "Make pairs", "button")).click();
  await shown(page, /[1-9]\d* pairs? kept, 0 dropped/);
  expect(await page.$eval(".pairs .row .about", (one) => one.textContent)).not.toContain("could not be read");

  const pairs = await page.$$(".pair");
  const edits = Math.min(2, pairs.length);
  expect(edits).toBe(2);
  for (let i = 0; i < edits; i++) {
    const [edit] = await (await page.$$(".pair"))[i].$$('button[aria-label^="Edit: "]');
    await edit.click();
    for (const [name, text] of [
      ["Question", `What is fact ${i + 1}?`],
      ["Answer", `Fact ${i + 1}.`],
    ]) {
      const field = await by(page, name, "textbox");
      await field.click();
      await field.evaluate((one) => (one as HTMLTextAreaElement).select());
      await field.type(text);
    }
    await (await by(page, "Save", "button")).click();
    await shown(page, new RegExp(`What is fact ${i + 1}\\?`));
  }
  await page.$$eval("button", (all) => all.find((one) => one.textContent!.startsWith("Train on these"))!.click());
  await shown(page, /Train on your documents.*plant\.jsonl.*What is fact 1\?/);
  await shown(page, /of GPU memory/);
  const train = await by(page, "Train", "button");
  await page.waitForFunction((button) => !(button as HTMLButtonElement).disabled, {}, train);
  await train.click();
  await shown(page, /embedded model on plant\.jsonl.*step [1-9]\d* of /);
});
