import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { unzipSync } from "fflate";
import type { ElementHandle, Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import { solve } from "../../src/eval/solve.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { openGgufCheckpoint } from "../../src/session/export.ts";
import { loadAdapter, loadText, prepareText, setAdapter } from "../../src/session/generate.ts";
import { ownGpu } from "../gpu/open.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { builtPage } from "./page-site.ts";
import { recordedTasks, recordTasks, taskLines } from "./tasks.ts";

// A user's whole session, with the real worker on SwiftShader: the embedded model, SFT then GRPO, a reload in
// the middle, before and after, and the adapter in Node. About ten minutes on two cores.

const MODEL = fileURLToPath(new URL("../../assets/tiny", import.meta.url));
const STEPS = { sft: 48, grpo: 8 };
const SAVE_EVERY = 2;
const PROBLEMS = 20;
const ANSWER_TOKENS = 48;
const MINUTES = 60_000;

const web = useBrowser();
let site: Site;
let downloads: string;
beforeAll(async () => {
  site = await serve(await builtPage(), { base: "/a/sub/path/", policy: null });
  downloads = mkdtempSync(join(tmpdir(), "qwench-downloads-"));
});
afterAll(async () => {
  await site.close();
  rmSync(downloads, { recursive: true, force: true });
});

const by = async (page: Page | ElementHandle, name: string, role: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`))!;
const shown = (page: Page, pattern: RegExp, timeout = 10 * MINUTES) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    { timeout, polling: 400 },
    pattern.source,
  );
const status = (page: Page) => page.$eval(".status", (element) => element.textContent);

async function type(field: ElementHandle, text: string): Promise<void> {
  await field.click({ count: 3 });
  await field.type(text);
}

/** A software GPU shares its cores with the page, which a real one does not: it steps back. */
function lowerGpu(): void {
  const browser = web.browser.process()!.pid;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const parent = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[1]);
      if (parent !== browser || !readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--type=gpu-process")) continue;
      for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), 19);
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code!)) throw error; // it ended meanwhile
    }
  }
}

/** Milliseconds from a click to the next frame. */
function clickTime(page: Page, selector: string): Promise<number> {
  return page.evaluate(async (selector) => {
    const began = performance.now();
    document.querySelector<HTMLElement>(selector)!.click();
    await new Promise(requestAnimationFrame);
    return performance.now() - began;
  }, selector);
}

/** The name of a file that the browser has put into the folder. */
async function downloaded(ending: string): Promise<string> {
  const found = () => readdirSync(downloads).find((name) => name.endsWith(ending));
  await expect.poll(found, { timeout: 60_000 }).toBeDefined();
  return found()!;
}

test("trains, continues after a reload, improves, and its adapter gives the same answers in Node", {
  timeout: 30 * MINUTES,
}, async () => {
  const page = await web.open(site.url);
  const cdp = await page.createCDPSession();
  await cdp.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });

  // a short schedule
  for (const [method, steps] of [
    ["SFT", STEPS.sft],
    ["GRPO", STEPS.grpo],
  ] as const) {
    const recipe = await by(page, `Recipe of ${method}`, "region");
    await type(await by(recipe, "Max steps", "textbox"), String(steps));
    await (await recipe.waitForSelector(`summary ::-p-text(All ${method} options)`))!.click();
    await type(await by(recipe, "Save steps", "textbox"), String(SAVE_EVERY));
  }
  await type(await by(page, "How many", "spinbutton"), String(PROBLEMS));
  await type(await by(page, "Name of the run", "textbox"), "A short one");
  await page.waitForFunction(
    (text) => document.querySelector(".plan")!.textContent!.includes(text),
    {},
    `${STEPS.grpo} steps over`,
  );
  const train = await by(page, "Train", "button");
  await page.waitForFunction((button) => !(button as HTMLButtonElement).disabled, {}, train);
  await train.click();

  // it trains, and the page stays quick
  await shown(page, /Before.*SFT.*step 1 of /);
  lowerGpu();
  await recordTasks(page);
  const curve = () => page.$eval(".plot .line", (line) => line.getAttribute("d")!.length);
  await shown(page, /Loss/);
  const before = await curve();
  await shown(page, /SFTstep [5-9] of/);
  expect(await curve()).toBeGreaterThan(before);
  const clicks: number[] = [];
  for (let i = 0; i < 10; i++) clicks.push(await clickTime(page, ".curves .more:nth-last-of-type(1) summary"));
  expect(Math.max(...clicks)).toBeLessThan(200);
  await shown(page, /GRPO, phase 2.*Reward by function.*Completions.*advantage/);
  await shown(page, /GRPOstep 3 of/);
  const tasks = await recordedTasks(page);
  console.log(`the longest of ${tasks.length} tasks of the page:\n${taskLines(tasks)}`);
  expect(tasks.length).toBeGreaterThan(100);
  expect(tasks[0].cpu, tasks[0].what).toBeLessThan(50);

  // loaded again in the middle
  await page.reload();
  await shown(page, /the run continues from the last checkpoint/);
  await shown(page, /GRPOstep [2-9] of/);
  await expect.poll(() => status(page), { timeout: 60_000 }).toBe("training");
  await page.waitForFunction(() => document.querySelector(".status")!.textContent === "finished", {
    timeout: 10 * MINUTES,
  });
  await (await page.waitForSelector(".phase-charts .more summary ::-p-text(as a table)"))!.click();
  await page.waitForSelector(".figures tbody tr");
  const steps = await page.$$eval(".figures tbody th", (cells) => cells.map((cell) => Number(cell.textContent)));
  expect(steps).toEqual(Array.from({ length: STEPS.grpo }, (_, i) => STEPS.grpo - i));

  // better than before
  await (await by(page, "See the result", "link")).click();
  await shown(page, /After GRPO\d+ %/);
  const shares = await page.$$eval(".accuracies b", (all) => all.map((one) => Number.parseInt(one.textContent!, 10)));
  expect(shares).toHaveLength(3);
  expect(shares[2]).toBeGreaterThan(shares[0]);
  await (await by(page, `Show ${PROBLEMS - 4} more`, "button")).click();
  const answers = await page.$$eval(".problem .answer:last-child .text", (all) => all.map((one) => one.textContent!));
  expect(answers).toHaveLength(PROBLEMS);

  // taken away
  await (await by(page, "Download adapter", "button")).click();
  await shown(page, /is in your downloads/);
  const zip = await downloaded(".zip");
  const folder = memoryFolder("adapter");
  for (const [name, bytes] of Object.entries(unzipSync(readFileSync(join(downloads, zip)))))
    await folder.write(name, bytes);
  const adapter = await readAdapter(folder);
  expect(adapter.config.r).toBe(16);
  await (await by(page, "Download GGUF", "button")).click();
  await shown(page, /gguf, .* is in your downloads/);
  const gguf = await downloaded(".gguf");
  expect((await openGgufCheckpoint(nodeFolder(downloads), gguf)).config).toMatchObject({ model_type: "qwen2" });
  const sources = { gpu: await ownGpu(), model: nodeFolder(MODEL) };
  const text = await loadText(await prepareText(sources), sources);
  setAdapter(text.model, await loadAdapter(text.model, folder));
  const solved = await solve(text.model, text.tokenizer, embeddedRows("test").slice(0, PROBLEMS), {
    max_new_tokens: ANSWER_TOKENS,
  });
  expect(solved.map(({ completions: [completion] }) => completion)).toEqual(answers);
});
