import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, launch, type Page } from "puppeteer-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { unpackChromium } from "./chromium.ts";

export { bundle, POLICY, readSite, type Site, type SiteFiles, serve } from "./site.ts";

const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--headless",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // containers give /dev/shm 64 MB
];

/** Milliseconds after which what a test waits for counts as hung, on a machine that others use too. */
const PATIENCE = 180_000;
/** Time limit of an evaluation in a page in ms: it may hold a whole run, which compiles its kernels first. */
const WHOLE_RUN = 840_000;

/** A browser under test: whatever a page or a worker reports as an error fails the test. */
export interface TestBrowser {
  readonly browser: Browser;
  /** Opens a page that has loaded. */
  open(url: string): Promise<Page>;
  /** Says that errors of this kind are meant to come in the present test. */
  expectFault(pattern: RegExp): void;
  /** Ends the browser and starts another on the same profile, as after a crash. */
  restart(): Promise<void>;
}

/**
 * Chromium with WebGPU on SwiftShader, one for a test file, with a fresh profile. Call at the top of the file.
 *
 * @param keepPages pages stay open for the next test: a worker has then compiled its kernels
 * @param flags further flags of Chromium
 */
export function useBrowser({ keepPages = false, flags = [] as readonly string[] } = {}): TestBrowser {
  const chromium = unpackChromium();
  const profile = mkdtempSync(join(tmpdir(), "qwench-profile-"));
  let browser: Browser | null = null;
  let faults: string[] = [];
  let expected: RegExp[] = [];

  const start = async () => {
    browser = await launch({
      executablePath: chromium.executable,
      defaultViewport: { width: 1280, height: 900 }, // narrower pages have a bar at the bottom, where a click would land on it
      args: [...FLAGS, ...flags],
      userDataDir: profile,
      env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
      timeout: PATIENCE,
      protocolTimeout: WHOLE_RUN,
    });
  };
  const watch = (page: Page) => {
    page.on("pageerror", (error) => faults.push(`page error: ${(error as Error)?.message ?? error}`));
    page.on("error", (error) => faults.push(`the page crashed: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "assert"].includes(message.type()))
        faults.push(`console: ${message.text()} ${message.location().url ?? ""}`);
    });
  };

  beforeAll(start);
  afterEach(async () => {
    for (const page of keepPages ? [] : await browser!.pages()) if (page.url() !== "about:blank") await page.close();
    const unexpected = faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
    const missing = expected.filter((pattern) => !faults.some((fault) => pattern.test(fault)));
    [faults, expected] = [[], []];
    expect({ unexpected, missing }).toEqual({ unexpected: [], missing: [] });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });

  return {
    get browser() {
      return browser!;
    },
    async open(url) {
      const page = await browser!.newPage();
      page.setDefaultTimeout(PATIENCE); // of whatever is waited for in it
      watch(page);
      await page.goto(url, { waitUntil: "load" });
      return page;
    },
    expectFault(pattern) {
      expected.push(pattern);
    },
    async restart() {
      browser!.process()!.kill("SIGKILL");
      await start();
    },
  };
}
