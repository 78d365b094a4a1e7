import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import type { AxeResults } from "axe-core";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Accessibility of the page: keyboard, screen reader, small screens, both colour schemes.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
});
afterAll(() => site.close());

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const VIEWS = {
  start: "?seed#/",
  "a run": "?seed#/runs/seed-1",
  "a result": "?seed#/runs/seed-1/result",
  documents: "?seed#/documents",
  chat: "?seed#/chat",
  runs: "?seed#/runs",
  storage: "?seed#/storage",
  "no WebGPU": "?fake=no-webgpu#/",
  "a recorded run": "?fake=no-webgpu#/recorded",
};
const SCREENS = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
];

async function open(url: string): Promise<Page> {
  const page = await web.open(`${site.url}${url}`);
  await page.waitForSelector("main h1");
  // details hide faults as well as text
  await page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  await new Promise((done) => setTimeout(done, 500)); // plan, preview and curves
  return page;
}

describe.each(Object.entries(VIEWS))("%s", (_, url) => {
  test.each(["light", "dark"])("has no serious fault, %s, wide and narrow", async (scheme) => {
    const page = await open(url);
    // colours that are still changing have contrasts of their own
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    await page.evaluate(axe);
    for (const screen of SCREENS) {
      await page.setViewport(screen);
      // the schemes differ in colours only
      const { violations, passes } = (await page.evaluate(
        scheme === "light" ? "axe.run()" : 'axe.run({ runOnly: ["color-contrast"] })',
      )) as AxeResults;
      expect(passes.length).toBeGreaterThan(scheme === "light" ? 15 : 0);
      const faults = violations.map(
        ({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`,
      );
      expect(faults).toEqual([]);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wide, `${screen.width} pixels: the page is wider than the screen`).toBeLessThanOrEqual(0);
    }
  });
});

/** The accessible name and role of what has the focus. */
async function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const element = document.activeElement as HTMLElement;
    const labels = element.getAttribute("aria-labelledby")?.split(" ") ?? [];
    const text =
      labels.map((id) => document.getElementById(id)?.textContent).join(" ") || element.getAttribute("aria-label");
    return text || (element as HTMLInputElement).labels?.[0]?.textContent || element.textContent || element.tagName;
  });
}

test("the keyboard alone trains, pauses, and finds the result; the focus is visible and follows", async () => {
  const page = await web.open(`${site.url}?step=10&linger=0:3#/`);
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.waitForSelector("main h1");
  await page.keyboard.press("Tab");
  expect(await focused(page)).toBe("Skip to the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  expect(await focused(page)).toBe("Train the embedded model");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle);
  expect(outline).toBe("solid");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.activeElement?.tagName === "H1" && document.activeElement.textContent === "Word problems",
  );
  const order: string[] = [];
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press("Tab");
    order.push(await focused(page));
  }
  expect(order).toEqual(["Training", "Result", "Pause", "Stop"]);
  await page.keyboard.down("Shift");
  await page.keyboard.press("Tab");
  await page.keyboard.up("Shift");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.querySelector(".status")!.textContent === "paused");
  // the button that was pressed is gone: its successor has the focus
  expect(await focused(page)).toBe("Go on");
  await page.evaluate(() => Object.assign(globalThis, { hurry: true }));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".status")!.textContent === "finished");
  await page.waitForFunction(() =>
    /Word problems is finished/.test(document.querySelector("[aria-live=polite].hidden")!.textContent!),
  );
});

test("a few keys lead from the top past all choices to Train", async () => {
  const page = await web.open(`${site.url}?seed#/`);
  await page.waitForFunction(() => /of GPU memory/.test(document.querySelector(".summary")?.textContent ?? ""));
  let pressed = 0;
  const until = async (name: string) => {
    for (;;) {
      await page.keyboard.press("Tab");
      expect(++pressed, `not at ${name}`).toBeLessThan(15);
      if ((await focused(page)) === name) return;
    }
  };
  await until("Skip to the content");
  await page.keyboard.press("Enter");
  await until("Skip to Forecast and Train");
  await page.keyboard.press("Enter");
  await until("Train");
});

test("a dialog keeps the focus and returns it", async () => {
  const page = await open("?seed#/storage");
  const button = await page.waitForSelector('::-p-aria([name="Delete sums.csv"][role="button"])');
  await button!.focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open]");
  expect(await focused(page)).toBe("Cancel");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector("dialog"));
  expect(await focused(page)).toBe("Delete sums.csv");
});

test("prefers-reduced-motion turns motion off", async () => {
  const page = await open("?seed#/runs/seed-1");
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  const moving = await page.evaluate(
    () =>
      [...document.querySelectorAll("*")].filter((element) => {
        const style = getComputedStyle(element);
        return style.transitionDuration !== "0s" || style.animationName !== "none";
      }).length,
  );
  expect(moving).toBe(0);
});

test("the curves are also a table, and a sentence for a screen reader", async () => {
  const before = await open("");
  await before.evaluate(() => localStorage.clear()); // what other tests left
  const page = await open("?seed#/runs/seed-1");
  await page.waitForSelector(".figures tbody tr");
  const label = await page.$eval(".plot", (plot) => plot.getAttribute("aria-label"));
  expect(label).toMatch(/^Reward: [\d.]+ at step 1, [\d.]+ at step 60$/);
  const rows = await page.$eval(".figures", (table) => table.querySelectorAll("tbody tr").length);
  expect(rows).toBe(60);
});

test("the built page: the scripts that it starts with have at most 250 kB gzipped, and its policy forbids eval", async () => {
  const html = String(site.files.get("index.html"));
  const codeOf = (name: string) => String(site.files.get(name));
  // what the page names, and what those scripts import at once; import() loads the others when they are needed
  const scripts = new Set([...html.matchAll(/(?:src|href)="\.?\/?([^"]+\.js)"/g)].map(([, name]) => name));
  for (const name of scripts) {
    for (const [, other] of codeOf(name).matchAll(/(?:^|[;}\s])(?:import|export)[^("';]*["']\.\/([^"']+\.js)["']/g))
      scripts.add(name.replace(/[^/]*$/, other));
  }
  expect([...scripts].filter((name) => !site.files.has(name))).toEqual([]);
  const bytes = [...scripts].reduce((sum, name) => sum + gzipSync(codeOf(name)).length, 0);
  console.log(`gzipped: scripts of the page before a run ${(bytes / 1000).toFixed(1)} kB`);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThanOrEqual(250_000);
  const policy = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(html)![1].replaceAll("&#39;", "'");
  expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';");
  expect(policy).not.toContain("'unsafe-eval'");
  expect(policy).not.toContain("'unsafe-inline'");
});
