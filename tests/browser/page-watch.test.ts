import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Charts, a run to watch, comparisons, signing in and downloads, with a trainer that needs no GPU.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
});
afterAll(() => site.close());

async function open(query: string): Promise<Page> {
  const page = await web.open(`${site.url}${query}`);
  await page.setViewport({ width: 1280, height: 1000 });
  await page.evaluate(() => localStorage.clear());
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await page.waitForSelector("main h1");
  return page;
}
const by = async (page: Page, name: string, role: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`))!;
const shown = (page: Page, pattern: RegExp) =>
  page.waitForFunction((source) => new RegExp(source, "s").test(document.body.textContent!), {}, pattern.source);
const signIn = async (page: Page, token: string) => {
  await page.waitForSelector("dialog[open] input");
  await page.type("dialog[open] input", `${token}\n`);
};

/** The phase that is shown; earlier ones are folded, and not drawn. */
const NOW = ".curves:not(.earlier)";

describe("charts", () => {
  test("share smoothing, log scale, x axis, crosshair and zoom; one enlarges; any logged name is one", async () => {
    const page = await open("?seed#/runs/seed-1");
    await page.waitForSelector(".chart .line");
    const count = (selector: string) => page.$$eval(`${NOW} .charts ${selector}`, (all) => all.length);
    const charts = await count(".chart");
    expect(await count(".raw")).toBe(0);
    await page.$eval(`${NOW} .toolbar input[type="range"]`, (input) => {
      (input as HTMLInputElement).value = "0.8";
      input.dispatchEvent(new Event("input"));
    });
    expect(await count(".raw")).toBe(await count(".line"));
    const axes = () => page.$$eval(`${NOW} .charts .tick.name`, (names) => names.map((name) => name.textContent));
    await page.select(`${NOW} .toolbar select`, "tokens");
    await page.waitForFunction(
      (n) =>
        [...document.querySelectorAll(".curves:not(.earlier) .charts .tick.name")].filter(
          (one) => one.textContent === "tokens",
        ).length >= n,
      {},
      charts,
    );
    expect(await axes()).toContain("nats");
    for (const ticks of await page.$$eval(`${NOW} .chart .plot`, (plots) =>
      plots.map((plot) => plot.querySelectorAll(".tick[text-anchor=end]:not(.name)").length),
    ))
      expect(ticks).toBeGreaterThanOrEqual(3);

    const box = (await (await page.$(`${NOW} .chart .plot`))!.boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + 80);
    await page.waitForFunction(
      (n) => document.querySelectorAll(".curves:not(.earlier) .chart .cursor:not([visibility])").length === n,
      {},
      charts,
    );
    const dots = () => page.$eval(`${NOW} .chart .plot`, (plot) => plot.querySelectorAll(".dot").length);
    expect(await dots()).toBe(1);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2 + 40, box.y + 80, { steps: 4 });
    await page.mouse.up();
    await expect.poll(dots).toBeGreaterThan(3);
    await (await by(page, "All of the axis", "button")).click();
    await expect.poll(dots).toBe(1);

    await (await by(page, "Enlarge Reward", "button")).click();
    await page.waitForSelector("dialog.enlarged .line");
    for (const name of ["CSV", "SVG", "PNG"]) await by(page, name, "button");
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => !document.querySelector("dialog"));
    await page.$eval(`${NOW} details.more summary`, (summary) => (summary as HTMLElement).click());
    const box2 = await page.waitForSelector("::-p-xpath(//label[normalize-space()='reward_std'])");
    await box2!.click();
    await page.waitForFunction(
      (n) => document.querySelectorAll(".curves:not(.earlier) .charts .chart").length === n,
      {},
      charts + 1,
    );
  });

  test("runs are compared: intervals, differences of the recipes, and problem by problem", async () => {
    const page = await open("?seed#/runs");
    await page.waitForSelector(".run-list input");
    for (const box of await page.$$(".run-list input")) await box.click();
    await shown(page, /65 % 50 % to 78 %.*26 of 40/);
    await shown(page, /Differences of the recipes/);
    await page.waitForSelector(".compare .line");
    await page.select(".by-problems select", "all");
    const first = await page.waitForSelector(".by-problem summary");
    await first!.click();
    await page.waitForSelector(".by-problem .answer .text");
  });
});

describe("a run to watch", () => {
  test("says what compiles, shows answers as they come, and one time left for all phases", async () => {
    const page = await open("?step=400#/");
    await (await by(page, "Train the embedded model", "button")).click();
    await shown(page, /Compiling kernels: 12 of 31/);
    await shown(page, /[1-4]0 of 40 answered, \d+ right/);
    await shown(page, /About .* left: SFT .*held-out problems .*, and GRPO, not measured yet/);
  });

  test("without WebGPU: a recording of a real run, labelled, with its result", async () => {
    const page = await open("?fake=no-webgpu#/");
    await (await by(page, "Watch a recorded run", "link")).click();
    await shown(page, /A real run of the embedded model, recorded on \d{4}-\d\d-\d\d on .*Nothing is computed here\./);
    await shown(page, /Compiling kernels: \d+ of \d+/);
    await (await by(page, "Skip to the end", "button")).click();
    await shown(page, /After GRPO\d+ %\d+ of 40 right/);
    await page.waitForSelector(".chart .line");
    expect(await page.evaluate(() => localStorage.getItem("qwench.paces"))).toBeNull();
  });
});

test("an error of a recipe field leads to the field, whose section opens", async () => {
  const page = await open("?fake=split#/");
  await shown(page, /The recipe has an error\. eval_strategy is steps, but your own file/);
  expect(await page.$eval("[data-field=eval_strategy]", (field) => field.checkVisibility())).toBe(false);
  await (await by(page, "Show the field", "button")).click();
  await page.waitForFunction(
    () => document.activeElement?.closest("[data-field]")?.getAttribute("data-field") === "eval_strategy",
  );
  const inView = await page.$eval("[data-field=eval_strategy]", (field) => {
    const { top, bottom } = field.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  });
  expect(inView).toBe(true);
});

describe("the hub", () => {
  test("a gated model: sign in helps; the token is in no storage; an address is accepted", async () => {
    const page = await open("?fake=gated#/");
    await (await by(page, "From the hub", "radio")).click();
    await shown(page, /This needs an account on the hub.*it is gated or private \(sign in\)/);
    expect(await page.$eval(".summary", (summary) => summary.textContent)).not.toMatch(/HF_TOKEN/);
    await page.$eval(".notice .helps button", (button) => (button as HTMLElement).click());
    await signIn(page, "hf_fake");
    await shown(page, /GRPO: .* of GPU memory/);
    expect(await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]))).not.toMatch(
      /hf_fake/,
    );
    await (await by(page, "Model", "combobox")).select("other");
    const id = await by(page, "Model id", "textbox");
    await id.type("https://huggingface.co/a/b/tree/v2");
    await page.keyboard.press("Tab");
    await expect.poll(() => id.evaluate((input) => (input as HTMLInputElement).value)).toBe("a/b@v2");
  });

  test("every kind of download; a push asks for a token, and says what is wrong with it", async () => {
    const page = await open("?seed#/runs/seed-1/result");
    await (await by(page, "Kind of GGUF", "combobox")).select("gguf_lora");
    await (await by(page, "Download GGUF", "button")).click();
    await shown(page, /Word problems-lora-F32\.gguf, .* is in your downloads/);
    await page.$eval(".downloads details summary", (summary) => (summary as HTMLElement).click());
    await (await by(page, "Repository", "textbox")).type("me/mine");
    await (await by(page, "Push to the hub", "button")).click();
    await signIn(page, "hf_wrong");
    await shown(page, /Cannot push to me\/mine: the token has no write access; sign in/);
  });
});
