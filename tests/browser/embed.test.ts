import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { built, entry } from "./dist.ts";
import { type Site, type SiteFiles, serve, useBrowser } from "./harness.ts";
import { POLICY } from "./site.ts";
import { JOB, makeTrainer } from "./trainer.ts";

// The published package, in pages without a bundler.
const web = useBrowser();
let packaged: SiteFiles;
beforeAll(async () => {
  packaged = await built("client", "trainer.worker");
  const model = await tinyChatModel();
  for (const name of await model.list()) {
    const source = await model.open(name);
    packaged.set(`assets/tiny/${name}`, await source.read(0, source.size));
  }
});

/** A page that imports the client from an address, as its own script. */
function pageWith(client: string): SiteFiles {
  return new Map<string, string>([
    ["index.html", `<!doctype html><title>Test</title><script type="module" src="./page.js"></script>`],
    ["page.js", `import * as client from ${JSON.stringify(client)};\nObject.assign(globalThis, { client });`],
  ]);
}

/** What a forecast says once the worker has opened the GPU, the embedded model and its rows. */
const PLAN = { fits: true, problem: null, download: 0, phases: [{ method: "sft", max_steps: 3 }, { method: "grpo" }] };

/** Modules that a script names. Not `import(address)`: Python's files, where a run's rewards need them; nor Python's own imports. */
const IMPORTS = /\bimport\s*\(\s*["'`].{0,40}|\bimport\s*(?:[\w$*{][^"'`;()]*\bfrom\s*)?["'][^"']+|\bfrom\s*"[^"]+"/gm;

describe("qwench/client without a bundler", () => {
  const sites: Site[] = [];
  afterAll(() => Promise.all(sites.map((site) => site.close())));

  test("imports nothing, and finds its worker beside it", async () => {
    for (const [name, code] of packaged) {
      if (name.endsWith(".js")) expect(String(code).match(IMPORTS)).toBeNull();
    }
    const site = await serve(
      new Map([
        ...pageWith(`./npm/${entry("./client")}`),
        ...[...packaged].map(([name, content]) => [`npm/${name}`, content] as const),
      ]),
    );
    sites.push(site);
    const page = await web.open(site.url);
    await makeTrainer(page, { assets: "npm/assets/" });
    expect(await page.evaluate((job) => trainer.plan(job), JOB as never)).toMatchObject(PLAN);
    expect(site.asked).toContain("/npm/dist/trainer.worker.js");
  });

  test("from another origin, with the embedded model from there too", async () => {
    const cdn = await serve(packaged, { base: "/npm/qwench@0.1.0/", policy: null, cors: true });
    const policy = POLICY.replace("script-src", `script-src ${new URL(cdn.url).origin}`).concat(
      ` worker-src blob: ${new URL(cdn.url).origin}`,
    );
    const site = await serve(pageWith(`${cdn.url}${entry("./client")}`), { policy });
    sites.push(cdn, site);
    const page = await web.open(site.url);
    await makeTrainer(page, { assets: `${cdn.url}assets/` });
    expect(await page.evaluate((job) => trainer.plan(job), JOB as never)).toMatchObject(PLAN);
    // the page's own policy must let it: worker-src blob: and the other origin
    expect(cdn.asked).toContain("/npm/qwench@0.1.0/dist/trainer.worker.js");
    expect(site.asked).toEqual(["/", "/page.js"]);
  });

  test("a missing worker is reported in a sentence", async () => {
    const page = await web.open(sites[0].url);
    await makeTrainer(page, { workerUrl: "./nowhere.js" });
    const said = await page.evaluate(() =>
      trainer.device().then(String, (error: Error) => `${error.name}: ${error.message}`),
    );
    expect(said).toMatch(/^QwenchError: The trainer's worker did not start: its script could not be loaded from http/);
    expect(said).toContain(`${sites[0].url}nowhere.js. Some bundlers, such as esbuild`);
  });
});
