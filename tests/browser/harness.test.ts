import { afterAll, beforeAll, expect, test } from "vitest";
import { bundle, type Site, serve, useBrowser } from "./harness.ts";

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await bundle("tests/browser/pages/worker-gpu.ts"), { base: "/under/a/path/" });
});
afterAll(() => site.close());

test("a worker gets a WebGPU device, under a policy without eval and under a sub-path", async () => {
  const page = await web.open(site.url);
  const answer = await page.waitForFunction("globalThis.answer");
  expect(await answer.jsonValue()).toMatchObject({ software: true, sum: 3 });
});

test("detects errors of the page, its console and its requests", async () => {
  web.expectFault(/page error: .*thrown here/);
  web.expectFault(/console: written here/);
  web.expectFault(/console: Failed to load resource.*404.*nothing\.json/);
  web.expectFault(/Content Security Policy/);
  const page = await web.open(site.url);
  await page.evaluate(async () => {
    setTimeout(() => {
      throw new Error("thrown here");
    });
    console.error("written here");
    await fetch("./nothing.json");
    const script = document.createElement("script");
    script.textContent = "eval('1')";
    document.body.append(script);
    await new Promise((done) => setTimeout(done, 50));
  });
});
