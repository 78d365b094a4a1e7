// `npx tsx scripts/page-screenshots.ts` makes the pictures in demo/screenshots from real runs in the npm package's Chromium,
// with WebGPU on SwiftShader: wide and narrow, light and dark. Takes about twenty minutes on two cores. With `--docs` it only
// makes the README's pictures, docs/images/page-light.png and page-dark.png, from one finished run on the embedded model.
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch, type Page } from "puppeteer-core";
import { unpackChromium } from "../tests/browser/chromium.ts";
import { builtPage } from "../tests/browser/page-site.ts";
import { serve } from "../tests/browser/site.ts";

const FOLDER = fileURLToPath(new URL("../demo/screenshots", import.meta.url));
const SCREENS = { desktop: { width: 1280, height: 1180 }, phone: { width: 390, height: 1180 } };
const SCHEMES = ["light", "dark"] as const;
const HOURS = 3_600_000;
const FOR_DOCS = process.argv.includes("--docs");
const PICTURE = fileURLToPath(new URL("../docs/images", import.meta.url));

const chromium = unpackChromium();
const site = await serve(await builtPage(), { policy: null });
const browser = await launch({
  executablePath: chromium.executable,
  args: [
    "--no-sandbox",
    "--headless",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--disable-dev-shm-usage",
  ],
  env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
  protocolTimeout: HOURS,
});

async function shoot(page: Page, name: string, heights: Partial<Record<keyof typeof SCREENS, number>> = {}) {
  for (const [screen, size] of Object.entries(SCREENS)) {
    await page.setViewport({ ...size, height: heights[screen as keyof typeof SCREENS] ?? size.height });
    for (const scheme of SCHEMES) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await new Promise((done) => setTimeout(done, 700)); // redraw the curves at the new width
      await page.screenshot({ path: `${FOLDER}/${name}-${screen}-${scheme}.png`, optimizeForSpeed: false });
    }
  }
  await page.setViewport(SCREENS.desktop);
}

const by = async (page: Page, name: string, role: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`))!;
const until = (page: Page, pattern: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    { timeout: HOURS, polling: 1000 },
    pattern.source,
  );
const finished = (page: Page) =>
  page.waitForFunction(() => document.querySelector(".status")?.textContent === "finished", {
    timeout: HOURS,
    polling: 1000,
  });

mkdirSync(FOR_DOCS ? PICTURE : FOLDER, { recursive: true });
const page = await browser.newPage();
await page.setViewport(SCREENS.desktop);
await page.goto(site.url);
await until(page, /of GPU memory/);
if (FOR_DOCS) {
  await (await by(page, "Train the embedded model", "button")).click();
  await finished(page);
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.setViewport({ width: 1280, height: 1000 });
  for (const scheme of SCHEMES) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await new Promise((done) => setTimeout(done, 700)); // redraw the curves in the new colours
    await page.screenshot({ path: `${PICTURE}/page-${scheme}.png` });
  }
  await browser.close();
  await site.close();
  process.exit();
}
await shoot(page, "start", { phone: 1000 });

// a run for comparison, without SFT
await (await by(page, "GRPO", "radio")).click();
await (await by(page, "Name of the run", "textbox")).type("Rewards alone");
await page.waitForFunction(() => document.querySelectorAll(".phase-plan").length === 1);
await (await by(page, "Train", "button")).click();
await finished(page);

await page.goto(site.url);
await (await by(page, "Train the embedded model", "button")).click();
await until(page, /GRPOstep 2\d of/);
await shoot(page, "run", { desktop: 1400, phone: 1400 });
await finished(page);
await (await by(page, "See the result", "link")).click();
await (await by(page, "Show", "combobox")).select("learnt");
for (const text of ["Ann has 12 apples and buys 5 more. How many apples does Ann have now?"]) {
  await (await by(page, "Your message", "textbox")).type(`${text}\n`);
  await until(page, /Trained.*<\/answer>/);
  await page.waitForFunction(() => document.querySelector(".ask .primary")?.getAttribute("aria-disabled") === "false");
}
await page.evaluate(() => (document.activeElement as HTMLElement).blur());
await shoot(page, "result", { desktop: 1560, phone: 1400 });

await page.goto(`${site.url}#/runs`);
for (const name of ["Word problems", "Rewards alone"]) await (await by(page, `Compare ${name}`, "checkbox")).click();
await page.waitForFunction(() => document.querySelectorAll(".compare .line").length === 2);
await shoot(page, "runs", { desktop: 800, phone: 1000 });

await browser.close();
await site.close();
