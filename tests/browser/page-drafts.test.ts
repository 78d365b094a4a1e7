import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Choices that survive, links, ways out, and what one may do with a run, with a trainer that needs no GPU.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
});
afterAll(() => site.close());

/** A fresh page in a wide window. */
async function open(query = "", hash = "#/"): Promise<Page> {
  const page = await web.open(`${site.url}?step=10&seed${query}${hash}`);
  await page.setViewport({ width: 1280, height: 900 });
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.waitForSelector("main h1");
  return page;
}

const shown = (page: Page, pattern: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    {},
    pattern.source,
  );
const field = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="textbox"])`))!;
const textIn = async (page: Page, name: string) =>
  (await field(page, name)).evaluate((element) => (element as HTMLInputElement).value);
const press = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`))!.click();
const to = (page: Page, hash: string) => page.evaluate((next) => (location.hash = next), hash);

test("choices survive another view and a reload, and a reset brings back the first ones", async () => {
  const page = await open();
  await (await page.waitForSelector('::-p-aria([name="SFT"][role="radio"])'))!.click();
  await page.waitForFunction(() => document.querySelectorAll(".phase-recipe").length === 1);
  const rank = await field(page, "LoRA r");
  await rank.evaluate((element) => (element as HTMLInputElement).select());
  await rank.type("12");
  await (await field(page, "Name of the run")).type("Mine");
  await page.waitForFunction(() => /"lora_r":"?12/.test(localStorage.getItem("qwench.draft") ?? ""));
  await to(page, "#/runs");
  await shown(page, /Import a run/);
  await to(page, "#/");
  expect([await textIn(page, "LoRA r"), await textIn(page, "Name of the run")]).toEqual(["12", "Mine"]);
  await page.reload();
  expect([await textIn(page, "LoRA r"), await textIn(page, "Name of the run")]).toEqual(["12", "Mine"]);
  expect(await page.$$eval(".phase-recipe", (parts) => parts.length)).toBe(1);
  await press(page, "Reset");
  await page.waitForFunction(() => document.querySelectorAll(".phase-recipe").length === 2);
  expect(await textIn(page, "Name of the run")).toBe("");
});

test("a link fills in its recipe and starts nothing; the user's own choices come back; a broken one says so", async () => {
  const page = await open();
  await (await field(page, "Name of the run")).type("My own");
  const recipe = {
    v: 1,
    name: "Linked",
    model: { kind: "hub", id: "Qwen/Qwen3-0.6B" },
    data: { kind: "hub", id: "openai/gsm8k", config: "main" },
    method: "sft",
    recipes: { sft: { lora_r: 64 } },
    evaluate: null,
  };
  await to(page, `#/recipe/${Buffer.from(JSON.stringify(recipe)).toString("base64url")}`);
  await shown(page, /nothing has started/);
  expect(await textIn(page, "LoRA r")).toBe("64");
  expect(await textIn(page, "Name of the run")).toBe("Linked");
  expect(await page.evaluate(() => location.hash)).toBe("#/");
  expect(await page.evaluate(() => JSON.parse(localStorage.getItem("fake.runs")!).length)).toBe(3); // those of the seed
  await (await page.waitForSelector('::-p-aria([name="Bring back my own choices"][role="link"])'))!.click();
  await page.waitForFunction(() => document.querySelectorAll(".phase-recipe").length === 2);
  expect(await textIn(page, "Name of the run")).toBe("My own");
  await to(page, "#/recipe/abc");
  await shown(page, /This link holds no recipe that this page can read/);
});

test("a run that is too large: a way out sets its field", async () => {
  const page = await open("&fake=memory");
  await (await page.waitForSelector('::-p-aria([name="From the hub"][role="radio"])'))!.click();
  await shown(page, /It fits with:/);
  await page.click(".ways button");
  await page.waitForFunction(() => /max_completion_length":128/.test(localStorage.getItem("qwench.draft") ?? ""));
  expect(await textIn(page, "Max completion length, tokens").catch(() => textIn(page, "Max completion length"))).toBe(
    "128",
  );
});

test("a finished run: a saved state is evaluated, its adapter continued, and its job changed", async () => {
  const page = await open("", "#/runs/seed-2");
  await page.evaluate(() => ((document.querySelector(".run-more") as HTMLDetailsElement).open = true));
  await press(page, "Evaluate now");
  await press(page, "SFT, step 60");
  await shown(page, /Evaluated\. The result page compares the answers/);
  const evaluations = () =>
    page.evaluate(
      () =>
        JSON.parse(localStorage.getItem("fake.runs")!).find(({ id }: { id: string }) => id === "seed-2").evaluations,
    );
  expect((await evaluations()).at(-1)).toMatchObject({ stage: "sft", phase: 0, step: 60 });
  await press(page, "Continue from this adapter");
  await shown(page, /Continues from the adapter of “Word problems, gentle”/);
  await press(page, "Start with a new adapter");
  await page.waitForFunction(() => !document.querySelector("#page")!.textContent!.includes("Continues from"));
});

test("a narrow window: the bar has memory, time and Train, which starts the run", async () => {
  const page = await open();
  await page.setViewport({ width: 390, height: 800 });
  await page.waitForFunction(() => /MiB.*about/s.test(document.querySelector(".train-bar")!.textContent!));
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await page.click(".train-bar button");
  await page.waitForFunction(() => location.hash.startsWith("#/runs/"));
});
