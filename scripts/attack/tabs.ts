// Faults of a page in training: two tabs start the same run, the device is lost at a random dispatch, the storage fills up.
// Each must end with an error message, and the run must continue to the numbers of an undisturbed one. `npx tsx
// scripts/attack/tabs.ts [--n 20] [--seed 1] [--only tabs,lost,quota]` takes the npm package's Chromium with SwiftShader.

import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Browser, Page, WebWorker } from "puppeteer-core";
import type { Job, RunRecord } from "../../src/client.ts";
import { type Site, serve } from "../../tests/browser/site.ts";
import { learnt, makeTrainer, QUICK, start, trainerSite } from "../../tests/browser/trainer.ts";
import { openBrowser } from "./browser.ts";
import { roundsOf } from "./rounds.ts";

const JOB: Job = {
  name: "Disturbed",
  model: { kind: "embedded" },
  phases: [
    {
      method: "sft",
      data: { kind: "embedded", rows: "sft" },
      recipe: { ...QUICK.sft, max_steps: 4, save_steps: 1 },
    },
    {
      method: "grpo",
      data: { kind: "embedded", rows: "prompts" },
      recipe: { ...QUICK.grpo, max_steps: 2, save_steps: 1 },
    },
  ],
  evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: 3 },
};

const PATIENCE = 600_000;
type Rounds = ReturnType<typeof roundsOf>;
interface Stage {
  browser: Browser;
  site: Site;
  rounds: Rounds;
}

/** Counters and actions that `watch` installs in a worker. */
interface Watched {
  count: number;
  /** the dispatch at which the device is lost; −1: never */
  nth: number;
}

/** A page with a trainer whose worker counts dispatches. */
async function openTrainer(browser: Browser, url: string): Promise<{ page: Page; worker: WebWorker }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.evaluateOnNewDocument("globalThis.__name = (it) => it"); // tsx marks functions by it
  await page.goto(url, { waitUntil: "load" });
  const created = new Promise<WebWorker>((found) => page.once("workercreated", found));
  await makeTrainer(page);
  const worker = await created;
  await page.evaluate(() => trainer.recipe.presets()); // wait until its script has run
  await worker.evaluate(() => {
    const watched = { count: 0, nth: -1 };
    Object.assign(globalThis, { watched });
    let device: GPUDevice;
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
      const opened = await request.call(this, descriptor);
      if (descriptor?.label === "qwench") device = opened;
      return opened;
    };
    const dispatch = GPUComputePassEncoder.prototype.dispatchWorkgroups;
    GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...args) {
      if (watched.count++ === watched.nth) device.destroy();
      return dispatch.apply(this, args);
    };
  });
  return { page, worker };
}

const set = (worker: WebWorker, nth: number) =>
  worker.evaluate((nth) => {
    Object.assign((globalThis as unknown as { watched: Watched }).watched, { count: 0, nth });
  }, nth);
const counted = (worker: WebWorker) =>
  worker.evaluate(() => (globalThis as unknown as { watched: Watched }).watched.count);

const create = (page: Page) => page.evaluate((job) => trainer.runs.create(job), JOB);
const recordOf = (page: Page, id: string): Promise<RunRecord> => page.evaluate((id) => trainer.runs.get(id), id);

/** A run's logs and results, without times. */
function numbersOf({ logs, evaluations }: RunRecord): string {
  const told = logs.flatMap((phase, i) => learnt(phase.map((record) => ({ type: "log" as const, phase: i, record }))));
  const solved = evaluations.map(({ stage, problems }) => [stage, problems.map(({ completion }) => completion)]);
  return JSON.stringify([told, solved]);
}

/** Faults of a run that should equal an undisturbed one. */
async function faultsOf(page: Page, id: string, wanted: string): Promise<string[]> {
  const record = await recordOf(page, id);
  if (record.status !== "finished") return [`the run is ${record.status}: ${record.problem}`];
  return numbersOf(record) === wanted ? [] : ["the run has different numbers"];
}

async function undisturbed(page: Page): Promise<string> {
  const id = await create(page);
  const { error } = await start(page, id);
  if (error) throw new Error(`The run fails undisturbed: ${error.message}`);
  return numbersOf(await recordOf(page, id));
}

async function attackLost({ browser, site, rounds }: Stage, n: number): Promise<number> {
  const { page, worker } = await openTrainer(browser, site.url);
  await set(worker, -1);
  const wanted = await undisturbed(page);
  const dispatches = await counted(worker);
  let good = 0;
  for (let round = 0; round < n; round++) {
    const nth = rounds.below(dispatches);
    const id = await create(page);
    await set(worker, nth);
    const { error } = await start(page, id);
    const faults: string[] = [];
    if (error?.name !== "GpuError" || !/destroyed|lost/.test(error.message)) {
      faults.push(`it ended with ${error ? `${error.name}: ${error.message}` : "no error"}`);
    }
    const { status, problem } = await recordOf(page, id);
    if (status !== "paused" || !/Start the run again to continue/.test(problem ?? ""))
      faults.push(`it is ${status}: ${problem}`);
    await set(worker, -1);
    const again = await start(page, id);
    if (again.error) faults.push(`it does not continue: ${again.error.message}`);
    faults.push(...(await faultsOf(page, id, wanted)));
    if (faults.length === 0) good++;
    else console.log(`lost, round ${round}, dispatch ${nth} of ${dispatches}: ${faults.join("; ")}`);
  }
  await page.close();
  console.log(
    `lost: ${good} of ${n} runs end with an error message and continue to the same numbers; ${dispatches} dispatches`,
  );
  return n - good;
}

async function attackQuota({ browser, site, rounds }: Stage, n: number): Promise<number> {
  let good = 0;
  for (let round = 0; round < n; round++) {
    // a separate origin, because IndexedDB caches the free space for a while
    const fresh = await serve(site.files);
    const { page } = await openTrainer(browser, fresh.url);
    const session = await page.createCDPSession();
    const origin = new URL(fresh.url).origin;
    const wanted = await undisturbed(page);
    const { usage } = await page.evaluate(() => trainer.storage.usage());
    const id = await create(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + rounds.below(2 * usage) });
    const { error } = await start(page, id);
    const faults: string[] = [];
    if (error && (error.name !== "QuotaError" || !/full|refused/.test(error.message))) {
      faults.push(`it ended with ${error.name}: ${error.message}`);
    }
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    if (error) {
      const again = await start(page, id);
      if (again.error) faults.push(`it does not continue: ${again.error.message}`);
    }
    faults.push(...(await faultsOf(page, id, wanted)));
    if (faults.length === 0) good++;
    else console.log(`quota, round ${round}: ${faults.join("; ")}`);
    await page.close();
    await fresh.close();
  }
  console.log(
    `quota: ${good} of ${n} runs end with an error message and continue to the same numbers after space is freed`,
  );
  return n - good;
}

async function attackTabs({ browser, site, rounds }: Stage, n: number): Promise<number> {
  let { page: first } = await openTrainer(browser, site.url);
  const { page: second } = await openTrainer(browser, site.url);
  const wanted = await undisturbed(first);
  const began = Date.now();
  await undisturbed(second); // compile in that tab too
  const took = Date.now() - began;
  let good = 0;
  for (let round = 0; round < n; round++) {
    const faults: string[] = [];
    const id = await create(first);
    const wait = rounds.below(took);
    if (round % 2 === 0) {
      const one = start(first, id);
      await pause(wait / 2);
      const other = start(second, id);
      const [, extra] = await Promise.all([
        second.evaluate((id) => trainer.runs.rename(id, "Renamed"), id),
        create(second),
      ]);
      const ends = await Promise.all([one, other]);
      const errors = ends.flatMap(({ error }) => error ?? []);
      if (errors.length !== 1) faults.push(`${errors.length} of two were refused`);
      for (const { name, message } of errors) {
        if (!/Another tab of this site is training|is finished: there is nothing left/.test(message))
          faults.push(`${name}: ${message}`);
      }
      const { name } = await recordOf(first, id);
      if (name !== "Renamed") faults.push(`its name is ${name}`);
      await second.evaluate((extra) => trainer.runs.remove(extra), extra); // it exists
    } else {
      void start(first, id).catch(() => {}); // its tab is now closed
      await pause(wait);
      await first.close();
      const { error } = await start(second, id);
      if (error && !/is finished/.test(error.message))
        faults.push(`refused after the other tab was closed: ${error.message}`);
      first = (await openTrainer(browser, site.url)).page;
    }
    faults.push(...(await faultsOf(second, id, wanted)));
    if (faults.length === 0) good++;
    else console.log(`tabs, round ${round}, after ${wait} ms: ${faults.join("; ")}`);
  }
  await first.close();
  await second.close();
  console.log(`tabs: ${good} of ${n} rounds correct`);
  return n - good;
}

const ATTACKS = { lost: attackLost, quota: attackQuota, tabs: attackTabs };

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      n: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
    },
  });
  const { browser, close } = await openBrowser();
  const site = await serve(await trainerSite());
  let failed = 0;
  for (const name of (values.only?.split(",") ?? Object.keys(ATTACKS)) as (keyof typeof ATTACKS)[]) {
    failed += await ATTACKS[name]({ browser, site, rounds: roundsOf(Number(values.seed), name) }, Number(values.n));
  }
  await close();
  await site.close();
  return failed > 0 ? 1 : 0;
}

process.exit(await main());
