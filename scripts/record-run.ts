// `npx tsx scripts/record-run.ts` trains the embedded model in the built page, in the npm package's Chromium with WebGPU on
// SwiftShader, and writes what happened to demo/recorded/run.json, which the page shows to visitors without WebGPU. Takes
// about fifteen minutes on two cores.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch } from "puppeteer-core";
import { compact, type Recording } from "../demo/recorded/recording.ts";
import type { RunEvent, Trainer } from "../src/client/types.ts";
import { unpackChromium } from "../tests/browser/chromium.ts";
import { builtPage } from "../tests/browser/page-site.ts";
import { serve } from "../tests/browser/site.ts";

declare global {
  var recorded: { trainer: Trainer; events: [number, RunEvent][] };
}

const FILE = fileURLToPath(new URL("../demo/recorded/run.json", import.meta.url));
const CLIENT = fileURLToPath(new URL("../src/client.ts", import.meta.url));
const HOURS = 3_600_000;

/** The page's client, which also keeps the events of its run. */
const WRAPPER = `
import { createTrainer as create } from ${JSON.stringify(CLIENT)};
export function createTrainer() {
  const trainer = create();
  const events = [];
  globalThis.recorded = { trainer, events };
  const { start } = trainer.runs;
  trainer.runs.start = async function* (...asked) {
    const began = performance.now();
    for await (const event of start(...asked)) {
      events.push([performance.now() - began, event]);
      yield event;
    }
  };
  return trainer;
}`;

const chromium = unpackChromium();
const files = await builtPage([
  {
    name: "recorder",
    enforce: "pre",
    resolveId: (source, importer) =>
      source.endsWith("src/client.ts") && importer?.endsWith("demo/main.ts") ? "\0recorder" : null,
    load: (id) => (id === "\0recorder" ? WRAPPER : null),
  },
]);
const site = await serve(files, { policy: null });
const browser = await launch({
  executablePath: chromium.executable,
  args: [
    ...["--no-sandbox", "--headless", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    "--disable-dev-shm-usage",
  ],
  env: { ...process.env, FONTCONFIG_PATH: chromium.fonts },
  protocolTimeout: HOURS,
});
const page = await browser.newPage();
await page.goto(site.url);
await (await page.waitForSelector('::-p-aria([name="Train the embedded model"][role="button"])'))!.click();
await page.waitForFunction(() => location.hash.startsWith("#/runs/"));
const id = decodeURIComponent(page.url().split("/").at(-1)!);
const fresh = await page.evaluate((id) => recorded.trainer.runs.get(id), id);
await page.waitForFunction(() => recorded.events.at(-1)?.[1].type === "end", { timeout: HOURS, polling: 1000 });
const { events, device, recipes } = await page.evaluate(async (id) => {
  const { trainer, events } = recorded;
  return { events, device: await trainer.device(), recipes: (await trainer.runs.get(id)).recipes };
}, id);
await browser.close();
await site.close();

const recording: Recording = {
  version: 1,
  recorded: new Date().toISOString().slice(0, 10),
  device: device.adapter,
  software: device.software,
  seconds: events.at(-1)![0] / 1000,
  record: {
    ...{ ...fresh, id: "recorded", recipes, status: "ready", problem: null, phase: 0, accuracy: null },
    ...{ logs: fresh.job.phases.map(() => []), completions: [], evaluations: [] },
    phases: fresh.phases.map(({ method }) => ({ method, max_steps: null, global_step: 0 })),
  },
  events,
};
const text = `${JSON.stringify(compact(recording))}\n`;
writeFileSync(FILE, text);
console.log(`${FILE}: ${text.length} bytes, ${events.length} events, ${Math.round(recording.seconds)} s`);
