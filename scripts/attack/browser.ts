import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, launch } from "puppeteer-core";
import { unpackChromium } from "../../tests/browser/chromium.ts";

const FLAGS = [
  "--no-sandbox",
  "--headless",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
];
const PATIENCE = 600_000;

/** Chromium with WebGPU on SwiftShader and a temporary profile. `close` removes both. */
export async function openBrowser(): Promise<{ browser: Browser; close(): Promise<void> }> {
  const chromium = unpackChromium();
  const profile = mkdtempSync(join(tmpdir(), "qwench-attack-profile-"));
  const browser = await launch({
    executablePath: chromium.executable,
    args: FLAGS,
    userDataDir: profile,
    env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
    timeout: PATIENCE,
    protocolTimeout: PATIENCE,
  });
  return {
    browser,
    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
