import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import type { ElementHandle, Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Runs of the command line in folders of this machine, picked and dropped; and files that are dropped anywhere else.

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const web = useBrowser();
const root = mkdtempSync(join(tmpdir(), "qwench-folders-"));
const ATTACK = `</pre><img src=x onerror="window.hacked=1">`;
let site: Site;

beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
  for (const name of ["first", "second"]) {
    const folder = join(root, name);
    mkdirSync(join(folder, "completions"), { recursive: true });
    mkdirSync(join(folder, "checkpoint-20"));
    writeFileSync(join(folder, "checkpoint-20", "metrics.jsonl"), "{");
    const about = { version: 1, method: "grpo", model: "embedded", data: "gsm8k", device: "a GPU", max_steps: 40 };
    const times = { began: "2026-01-02T03:04:05.000Z", ended: null, status: "running", problem: null };
    const recipe = `beta: ${name === "first" ? 0.1 : 0.2} # ${ATTACK}\n`;
    writeFileSync(join(folder, "run.json"), JSON.stringify({ ...about, ...times, recipe }));
    for (let step = 1; step <= 20; step++) {
      const log = { step, reward: step / 40, loss: 1 / step, elapsed: 2 * step };
      appendFileSync(join(folder, "metrics.jsonl"), `${JSON.stringify(log)}\n`);
    }
    const completion = { step: 20, prompt: "p", completion: `c${ATTACK}`, right: 1, advantage: 0.5 };
    writeFileSync(
      join(folder, "completions", "completions_00020.jsonl"),
      `${JSON.stringify({ ...completion, finish_reason: "stop", length: 3 })}\n`,
    );
    for (const [file, adapter, right] of [
      ["base.json", null, false],
      ["trained.json", `runs/${name}`, true],
    ] as const) {
      const results = { model_type: file, dataset: "gsm8k", model_name_or_path: null, adapter_name_or_path: adapter };
      const record = { problem: "How many?", ground_truth: "7", responses: ["7"], extracted_answers: ["7"] };
      const marks = { correct_responses: [right], is_correct: right, n_correct: right ? 1 : 0, n_total: 1 };
      writeFileSync(join(folder, file), JSON.stringify({ results, records: { 0: { ...record, ...marks } } }));
    }
  }
});
afterAll(async () => {
  await site.close();
  rmSync(root, { recursive: true, force: true });
});

const shown = (page: Page, pattern: RegExp) =>
  page.waitForFunction((source) => new RegExp(source, "s").test(document.body.textContent!), {}, pattern.source);

/** Drops files or folders of this machine on an element, as a user's file manager does. */
async function drop(page: Page, selector: string, paths: string[]): Promise<void> {
  const box = (await (await page.waitForSelector(selector))!.boundingBox())!;
  const cdp = await page.createCDPSession();
  const at = { x: box.x + box.width / 2, y: box.y + Math.min(20, box.height / 2) };
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const)
    await cdp.send("Input.dispatchDragEvent", { type, ...at, data });
}

test("a picked folder's runs are shown, compared, closed, and nothing is written", async () => {
  const page = await web.open(`${site.url}#/runs`);
  const before = JSON.stringify(readdirSync(root, { recursive: true }).sort());
  const input = (await page.waitForSelector("input[webkitdirectory]")) as ElementHandle<HTMLInputElement>;
  await input.uploadFile(root);
  await page.waitForFunction(() => document.querySelectorAll(".run-list li").length === 2);
  await shown(page, /Folder, read only · embedded · gsm8k · GRPO 20\/40.*not finished when read/);
  await page.$$eval(".run-list input", (boxes) => boxes.forEach((box) => void (box as HTMLElement).click())); // at once
  await shown(page, /grpo beta.*0\.1.*0\.2/);
  await page.waitForFunction(() => document.querySelectorAll(".compare .line").length === 2);
  await shown(page, /0 %.*0 of 1.*100 %.*1 of 1/);
  await page.setViewport({ width: 390, height: 900 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  await page.setViewport({ width: 1280, height: 900 });

  await page.$eval(".run-list a", (link) => (link as HTMLElement).click());
  await page.waitForSelector(".phase-charts .line");
  await page.waitForSelector(".completion");
  expect(await page.$$eval(".run-header button", (all) => all.length)).toBe(3); // hidden: Go on, Pause, Stop
  expect(await page.$$eval(".run-header button", (all) => all.filter((one) => one.checkVisibility()).length)).toBe(0);
  await page.$eval(".tabs a:last-child", (link) => (link as HTMLElement).click());
  await shown(page, /Newest figures.*Time40 s.*Held-out problems.*After GRPO100 %/);
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  await page.evaluate(axe);
  for (const width of [1280, 390]) {
    await page.setViewport({ width, height: 900 });
    const { violations } = (await page.evaluate("axe.run()")) as AxeResults;
    expect(violations.map(({ id }) => id)).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  }

  await page.evaluate(() => void (location.hash = "#/runs"));
  await page.waitForSelector(".run-list li");
  await page.evaluate(axe);
  expect(((await page.evaluate("axe.run()")) as AxeResults).violations.map(({ id }) => id)).toEqual([]);
  await page.$eval(".run-list .actions button", (button) => (button as HTMLElement).click());
  await page.waitForFunction(() => document.querySelectorAll(".run-list li").length === 1);
  expect(JSON.stringify(readdirSync(root, { recursive: true }).sort())).toBe(before);
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
  expect(kept).not.toMatch(/folder:/);
  const hash = await page.$eval(".run-list a", (link) => (link as HTMLAnchorElement).hash);
  await page.evaluate((to) => void (location.hash = to), hash);
  await page.waitForSelector(".run-header");
  await page.reload();
  await shown(page, /This folder is not open/);
});

test("a folder can be dropped; one without runs is refused; a file elsewhere leaves the page as it is and is told where to go", async () => {
  const page = await web.open(`${site.url}#/runs`);
  await page.waitForSelector(".openers");
  await drop(page, ".runs > .about", [join(root, "first", "completions")]);
  await shown(page, /There is no run in completions: the folder of a run has metrics\.jsonl/);
  await drop(page, ".runs > .about", [join(root, "first")]);
  await page.waitForFunction(() => document.querySelector("main h1")?.textContent === "first");
  expect(await page.$$eval(".notices .error", (all) => all.length)).toBe(0);
  await page.evaluate(() => void (location.hash = "#/runs"));
  await drop(page, ".runs > .about", [join(root, "second", "metrics.jsonl")]);
  await page.waitForFunction(() => document.querySelector("main h1")?.textContent === "this folder");
  await page.waitForSelector(".phase-charts .line");
  const address = page.url();
  await drop(page, "main h1", [join(root, "first", "run.json")]);
  await shown(page, /Files cannot be dropped here\. These places take files: .*Runs takes exported runs/);
  expect(page.url()).toBe(address);
  expect(await page.$eval("main h1", (title) => title.textContent)).toBe("this folder");
});
