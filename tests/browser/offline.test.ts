import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// The built page as an app: installable, works without its server, and never serves an older build's page.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(new Map(await fakePage()), { base: "/some/where/", policy: null });
});
afterAll(() => site.close().catch(() => {}));

test("the manifest names icons that exist, and the service worker every file of the page", () => {
  const manifest = JSON.parse(String(site.files.get("manifest.webmanifest")));
  expect(manifest).toMatchObject({ start_url: "./", scope: "./", display: "standalone" });
  for (const { src } of manifest.icons) expect(site.files.has(src.slice(2)), src).toBe(true);
  const [, list] = /FILES = (\{.*\});/.exec(String(site.files.get("service-worker.js")))!;
  const listed = Object.keys(JSON.parse(list));
  const served = [...site.files.keys()].filter((name) => !/^service-worker|^tiny\/README/.test(name));
  expect(listed.sort()).toEqual(served.sort());
});

test("a new build is shown at once; without a server the page still opens, whole, from one build", async () => {
  const page = await web.open(`${site.url}?seed#/`);
  await page.waitForSelector("main h1");
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    if (active!.state !== "activated")
      await new Promise<void>((done) => {
        active!.onstatechange = () => active!.state === "activated" && done();
      });
  });
  const html = String(site.files.get("index.html"));
  site.files.set("index.html", html.replace("</head>", '<meta name="build" content="new"></head>'));
  await page.reload();
  await page.waitForSelector("main h1");
  expect(await page.evaluate(() => Boolean(navigator.serviceWorker.controller))).toBe(true);
  expect(await page.$('meta[name="build"]')).not.toBeNull();

  await site.close();
  await page.reload();
  await page.waitForSelector("main h1");
  // the file of the new build was not kept, because the rest of that build was not
  expect(await page.$('meta[name="build"]')).toBeNull();
  await page.evaluate(() => (location.hash = "#/runs"));
  await page.waitForFunction(() => document.querySelector("h1")!.textContent === "Runs");
});
