import { launch } from "puppeteer-core";
import { unpackChromium } from "../../tests/browser/chromium.ts";

/**
 * Opens an address in the npm package's Chromium, with WebGPU on SwiftShader.
 *
 * @returns the text of `#said` as soon as it differs from the page's initial text
 * @throws if the text does not change, with the browser's reports
 */
export async function whatPageSays(url: string, patience_ms = 60_000): Promise<string> {
  const chromium = unpackChromium();
  const browser = await launch({
    executablePath: chromium.executable,
    args: ["--no-sandbox", "--headless", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
  });
  const reports: string[] = [];
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => reports.push(String(error)));
    page.on("console", (message) => reports.push(message.text()));
    page.on("requestfailed", (request) => reports.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on("response", (response) => {
      if (!response.ok()) reports.push(`${response.url()}: ${response.status()}`);
    });
    await page.goto(url);
    const said = await page.waitForFunction(
      () => {
        const text = document.querySelector("#said")?.textContent ?? "";
        return text.endsWith("…") ? "" : text;
      },
      { timeout: patience_ms },
    );
    return String(await said.jsonValue());
  } catch (error) {
    throw new Error(`${url}: ${(error as Error).message}; ${reports.join("; ")}`);
  } finally {
    await browser.close();
  }
}
