// `npx tsx scripts/documents-screenshots.ts` makes the pictures of the page's documents in demo/screenshots: wide and narrow,
// light and dark, with a trainer that needs no GPU and makes its pairs of the text's sentences.
import { fileURLToPath } from "node:url";
import { launch, type Page } from "puppeteer-core";
import { unpackChromium } from "../tests/browser/chromium.ts";
import { fakePage } from "../tests/browser/page-site.ts";
import { serve } from "../tests/browser/site.ts";

const FOLDER = fileURLToPath(new URL("../demo/screenshots", import.meta.url));
const SCREENS = { desktop: { width: 1280, height: 1500 }, phone: { width: 390, height: 1500 } };
const HANDBOOK = `# Handbook of the pumping station

The pump in hall 3 lifts 40 litres a minute. It is checked every Monday morning. Its filter lasts for six months.

The boiler in hall 5 holds 900 litres. Only Ms Ruiz may open its large valve. The crane above it carries 12 tonnes.`;

const chromium = unpackChromium();
const site = await serve(await fakePage(), { policy: null });
const browser = await launch({
  executablePath: chromium.executable,
  args: ["--no-sandbox", "--headless", "--disable-dev-shm-usage"],
  env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
});
const page = await browser.newPage();
const until = (pattern: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    {},
    pattern.source,
  );
const press = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`))!.click();

await page.setViewport(SCREENS.desktop);
await page.goto(`${site.url}?step=20#/documents`);
await page.waitForSelector(".drop");
await page.evaluate((text) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], "handbook.md"));
  document.querySelector(".drop")!.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}, HANDBOOK);
await until(/MARKDOWN/);
await (await page.waitForSelector(".chunk-lists summary"))!.click();
await press(page, "Make pairs");
await until(/6 pairs kept/);
await press(page, "Rate and clean up");
await until(/below 7/);
await page.evaluate(() => (document.activeElement as HTMLElement).blur());
for (const [screen, size] of Object.entries(SCREENS)) {
  await page.setViewport(size);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await new Promise((done) => setTimeout(done, 500));
    await page.screenshot({ path: `${FOLDER}/documents-${screen}-${scheme}.png` });
  }
}
await browser.close();
await site.close();
