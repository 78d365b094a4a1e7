import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import type { ElementHandle, Page } from "puppeteer-core";
import { expect } from "vitest";
import type { FakeHub } from "../io/hub/fake-hub.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const MINUTES = 60_000;
const SCREENS = { desktop: { width: 1280, height: 1000 }, phone: { width: 390, height: 1000 } };
const WIDE = { width: 1280, height: 900 };

/** Where pictures of the views are kept, such as demo/screenshots; absent: nowhere. */
const KEPT = process.env.QWENCH_SCREENSHOTS;

/** A person at the page: finds things by their names, waits for words, and looks at views wide and narrow, light and dark. */
export class Walker {
  readonly page: Page;
  /** views that were looked at */
  readonly seen: string[] = [];

  constructor(page: Page) {
    this.page = page;
    if (KEPT) mkdirSync(KEPT, { recursive: true });
  }

  async by(name: string, role: string, within: Page | ElementHandle = this.page): Promise<ElementHandle<HTMLElement>> {
    return (await within.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`)) as ElementHandle<HTMLElement>;
  }

  /** Presses without a pointer: what moves or is covered is pressed all the same. */
  async press(name: string, role = "button"): Promise<void> {
    await (await this.by(name, role)).evaluate((element) => element.click());
  }

  async pick(selector: string): Promise<void> {
    await (await this.page.waitForSelector(selector))!.evaluate((element) => (element as HTMLElement).click());
  }

  /** Replaces a field's text, and leaves the field. */
  async type(name: string, text: string, role = "textbox", within: Page | ElementHandle = this.page): Promise<void> {
    const field = await this.by(name, role, within);
    await field.evaluate((one) => (one as HTMLInputElement).select());
    await field.focus();
    await this.page.keyboard.type(text);
    await field.evaluate((one) => one.dispatchEvent(new Event("change", { bubbles: true })));
  }

  /** Waits until the page has these words. */
  async shown(pattern: RegExp, timeout = 8 * MINUTES): Promise<void> {
    await this.page.waitForFunction(
      (source) => new RegExp(source, "s").test(document.body.textContent!),
      { timeout, polling: 300 },
      pattern.source,
    );
  }

  /**
   * Looks for words that may stay for a moment only, from now on.
   *
   * @returns waits until the page has had all of them
   */
  async watch(...patterns: readonly RegExp[]): Promise<() => Promise<void>> {
    const missing = await this.page.evaluateHandle(
      (sources) => {
        const missing = new Set(sources);
        const look = () => {
          const text = document.body.textContent!;
          for (const source of missing) if (new RegExp(source, "s").test(text)) missing.delete(source);
          if (missing.size === 0) observer.disconnect();
        };
        const observer = new MutationObserver(look);
        observer.observe(document.body, { subtree: true, childList: true, characterData: true });
        look();
        return missing;
      },
      patterns.map(({ source }) => source),
    );
    return async () => {
      await this.page.waitForFunction((all) => all.size === 0, { timeout: 8 * MINUTES, polling: 300 }, missing);
    };
  }

  async until(selector: string, timeout = 5 * MINUTES): Promise<void> {
    await this.page.waitForSelector(selector, { timeout });
  }

  async go(hash: string, heading: RegExp): Promise<void> {
    await this.page.evaluate((to) => void (location.hash = to), hash);
    await this.page.waitForFunction(
      (source) => new RegExp(source).test(document.querySelector("main h1, main h2")?.textContent ?? ""),
      {},
      heading.source,
    );
  }

  status(): Promise<string | null> {
    return this.page.$eval(".run-header .status", ({ textContent }) => textContent);
  }

  async settles(status: string): Promise<void> {
    await this.page.waitForFunction(
      (wanted) => document.querySelector(".run-header .status")?.textContent === wanted,
      { timeout: 15 * MINUTES, polling: 300 },
      status,
    );
  }

  /**
   * Looks at a view in both widths and both colour schemes: nothing that axe calls serious, nothing wider than the screen, not
   * blank. Keeps the pictures as demo/screenshots has them.
   *
   * @param top selector of what is at the top of the pictures; absent: the top of the page
   * @param narrow the same in the narrow window
   */
  async look(view: string, top?: string, narrow = top): Promise<void> {
    const { page } = this;
    const back = await page.evaluate(() => scrollY);
    for (const [screen, size] of Object.entries(SCREENS)) {
      await page.setViewport(size);
      for (const value of ["light", "dark"]) {
        await page.emulateMediaFeatures([
          { name: "prefers-color-scheme", value },
          { name: "prefers-reduced-motion", value: "reduce" },
        ]);
        await page.evaluate(
          (selector) => {
            const at = selector ? document.querySelector(selector)!.getBoundingClientRect().top + scrollY - 64 : 0;
            scrollTo(0, at);
          },
          screen === "phone" ? narrow : top,
        );
        await new Promise((done) => setTimeout(done, 400)); // curves are drawn again at the new width
        await this.#check(`${view}, ${screen}, ${value}`);
        const path = KEPT ? join(KEPT, `${view}-${screen}-${value}.webp`) : undefined;
        const picture = await page.screenshot({ type: "webp", quality: 62, ...(path && { path }) });
        expect(picture.length, `${view}, ${screen}: a blank picture`).toBeGreaterThan(4000);
      }
    }
    this.seen.push(view);
    await page.emulateMediaFeatures([]);
    await page.setViewport(WIDE);
    await page.evaluate((to) => scrollTo(0, to), back);
  }

  async #check(where: string): Promise<void> {
    await this.page.evaluate(axe);
    const { violations, passes } = (await this.page.evaluate("axe.run()")) as AxeResults;
    expect(passes.length, where).toBeGreaterThan(10);
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
    expect(told, where).toEqual([]);
    const wide = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(wide, `${where}: wider than the screen`).toBeLessThanOrEqual(0);
  }
}

/** Sends what the page itself asks of huggingface.co to a local hub. Its worker has the hub's address. */
export async function toLocalHub(page: Page, hub: FakeHub): Promise<void> {
  const cdp = await page.createCDPSession();
  cdp.on("Fetch.requestPaused", async ({ requestId, request }) => {
    const { pathname, search } = new URL(request.url);
    const answer = await fetch(hub.url + pathname + search);
    await cdp.send("Fetch.fulfillRequest", {
      requestId,
      responseCode: answer.status,
      responseHeaders: [
        { name: "Access-Control-Allow-Origin", value: "*" },
        { name: "Content-Type", value: "application/json" },
      ],
      body: Buffer.from(await answer.arrayBuffer()).toString("base64"),
    });
  });
  await cdp.send("Fetch.enable", { patterns: [{ urlPattern: "https://*huggingface.co/*" }] });
}
