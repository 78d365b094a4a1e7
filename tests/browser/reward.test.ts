import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";
import { badRewards } from "./bad-rewards.ts";
import { completionsAt } from "./fake-runs.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// A reward of the user's own: the editor, its trials, the sandbox, and the run that it goes into. No GPU: trials run in the page.

const web = useBrowser({ keepPages: true });
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { base: "/some/where/", policy: null });
});
afterAll(() => site.close());

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const press = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`))!.click();
const textOf = (page: Page, selector: string) => page.$eval(selector, (element) => element.textContent ?? "");

async function openEditor(): Promise<Page> {
  const page = await web.open(`${site.url}?step=5&seed#/`);
  await page.waitForSelector("main h1");
  await page.evaluate(
    (records) => {
      const runs = JSON.parse(localStorage.getItem("fake.runs")!);
      for (const run of runs) run.completions = [{ phase: 0, step: 3, records }];
      localStorage.setItem("fake.runs", JSON.stringify(runs));
    },
    completionsAt(3, 60),
  );
  await press(page, "Write your own …");
  await page.waitForSelector("dialog.reward-editor[open]");
  return page;
}
const write = (page: Page, text: string) =>
  page.$eval(
    ".code-area textarea",
    (area, text) => {
      (area as HTMLTextAreaElement).value = text;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    },
    text,
  );
/** What the editor says after a trial: an error, or how long it took. */
async function attempt(page: Page, button: string): Promise<string> {
  await page.$eval(".reward-editor .try .about", (element) => (element.textContent = ""));
  await press(page, button);
  const said = await page.waitForFunction(() => {
    const editor = document.querySelector(".reward-editor")!;
    return editor.querySelector(".wrong")!.textContent || editor.querySelector(".try .about")!.textContent;
  });
  return (await said.jsonValue()) as string;
}
const scores = (page: Page) => page.$$eval(".trial .score", (cells) => cells.map((cell) => cell.textContent));

describe("the editor", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openEditor();
  });

  test("the example scores 8 rows and the last batch, and a changed completion again", async () => {
    expect(await attempt(page, "Try on 8 rows")).toMatch(/^8 completions scored in \d+ ms\.$/);
    expect(await scores(page)).toEqual(Array(8).fill("1"));
    await page.$eval(".trial textarea", (area) => {
      (area as HTMLTextAreaElement).value = "x".repeat(300);
      area.dispatchEvent(new Event("change", { bubbles: true }));
    });
    await page.waitForFunction(() => document.querySelector(".trial .score")?.textContent === "0.5");
    expect(await attempt(page, "On the last batch")).toMatch(/^12 completions scored/);
    expect(await scores(page)).toHaveLength(12);
    await page.evaluate(axe);
    const { violations } = (await page.evaluate("axe.run('dialog')")) as AxeResults;
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`)).toEqual([]);
  });

  test("columns of the row reach the function, of a batch too", async () => {
    await write(page, "export const has = (p, c, { answer }) => answer.map((text) => (text.length > 0 ? 1 : 0));\n");
    for (const button of ["Try on 8 rows", "On the last batch"]) {
      expect(await attempt(page, button)).toMatch(/scored/);
      expect(new Set(await scores(page))).toEqual(new Set(["1"]));
    }
  });

  test("an error names the row and marks the line", async () => {
    const text = `export function mine(prompts, completions) {
  return completions.map(({ 0: { content } }, i) => {
    if (i === 4 || content === completions[0][0].content.repeat(2)) throw new Error("odd");
    return 1;
  });
}
`;
    await write(
      page,
      text
        .replace("i === 4", "prompts.length > 1 ? i === 4 : globalThis.seen++ === 4")
        .replace("export", "globalThis.seen = 0;\nexport"),
    );
    expect(await attempt(page, "Try on 8 rows")).toMatch(/^Line 4: Reward mine failed on row 5 of 8 .*Error: odd\.$/s);
    expect(await textOf(page, ".numbers .bad")).toBe("4");
  });

  test("nothing is lost: Escape asks, a module that does not load is not saved, and a saved one goes into the run", async () => {
    await write(page, "export function one(prompts, completions) {\n  return completions.map(() => 1)\n");
    await press(page, "Save");
    await page.waitForFunction(() =>
      /Nothing was saved/.test(document.querySelector(".reward-editor .wrong")!.textContent!),
    );
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog.confirm[open]");
    await press(page, "Cancel");
    // leaving the page's view closes the editor, and what was written is still there
    await page.evaluate(() => (location.hash = "#/runs"));
    await page.waitForFunction(() => !document.querySelector("dialog"));
    await page.evaluate(() => (location.hash = "#/"));
    await page.waitForSelector(".reward-chip");
    await press(page, "Write your own …");
    await page.waitForSelector("dialog.reward-editor[open]");
    expect(await page.$eval(".code-area textarea", (area) => (area as HTMLTextAreaElement).value)).toBe(
      "export function one(prompts, completions) {\n  return completions.map(() => 1)\n",
    );
    await write(page, "export function one(prompts, completions) {\n  return completions.map(() => 1);\n}\n");
    await press(page, "Save");
    await page.waitForFunction(() => document.querySelectorAll(".reward-chip").length === 6);
    expect(await textOf(page, ".reward-chip:last-child .words")).toBe("oneyours, from my-reward.mjs");
    await page.$eval(".reward-chip:last-child .weight input", (input) => {
      (input as HTMLInputElement).value = "0.5";
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
    await page.waitForFunction(() => {
      const { phases } = (globalThis as unknown as { plans: import("../../src/client/types.ts").Job[] }).plans.at(-1)!;
      const { disabled } = document.querySelector<HTMLButtonElement>(".summary button[type=submit]")!;
      return !disabled && JSON.stringify(phases[1].recipe.reward_weights) === "[1,1,1,1,1,0.5]";
    });
    await (await page.waitForSelector('::-p-aria([name="Train"][role="button"])'))!.click();
    await page.waitForFunction(() => location.hash.startsWith("#/runs/run-"));
    const [{ job }] = (await page.evaluate(() =>
      JSON.parse(localStorage.getItem("fake.runs")!).filter((run: { id: string }) => run.id.startsWith("run-")),
    )) as { job: import("../../src/client/types.ts").Job }[];
    expect(job.phases[1].recipe).toMatchObject({
      reward_funcs: [...GSM8K_REWARDS, "./my-reward.mjs:one"],
      reward_weights: [1, 1, 1, 1, 1, 0.5],
    });
    expect(job.phases[1].modules).toEqual([
      { name: "my-reward.mjs", text: expect.stringContaining("export function one") },
    ]);
  });
});

test("rewards that misbehave are contained, named, and end in time", async () => {
  const page = await openEditor();
  await page.evaluate(() => {
    Object.assign(globalThis, { heard: 0 });
    addEventListener("message", () => (globalThis as unknown as { heard: number }).heard++);
  });
  site.asked.length = 0;
  for (const { title, text, says } of badRewards(site.url)) {
    await write(page, text.replace("if (step < 1)", "if (step < 0)"));
    expect.soft(await attempt(page, "Try on 8 rows"), title).toMatch(says);
  }
  await write(page, 'export const asks = () => fetch("/");\n');
  expect(await attempt(page, "Try on 8 rows")).toMatch(/A reward has no network, no storage and no page\.$/);
  expect(site.asked.filter((path) => /stolen/.test(path))).toEqual([]);
  expect(await page.evaluate(() => (globalThis as unknown as { heard: number }).heard)).toBe(0);
  expect(await page.$$eval("iframe", (frames) => frames.map((frame) => frame.getAttribute("sandbox")))).toEqual([
    "allow-scripts",
  ]);
  // the page and its sandbox still work
  await write(page, "export const fine = (p, completions) => completions.map(() => 1);\n");
  expect(await attempt(page, "Try on 8 rows")).toMatch(/^8 completions scored/);
});

test("a judge is tried from the form: the score and its reply, or what to do; the key goes to its address only", async () => {
  const page = await web.open(`${site.url}?step=5&seed#/`);
  await page.waitForSelector("main h1");
  await (await page.waitForSelector("select[aria-label='Add a reward']"))!.select("judge");
  const type = async (label: string, text: string) =>
    (await page.waitForSelector(`.judge ::-p-aria([name="${label}"])`))!.type(text);
  await type("Endpoint", "http://judge.test/v1");
  await type("Key", "sk-1");
  await page.evaluate(() => {
    const asked: { url: string; key: string | null; body: unknown }[] = [];
    const plain = fetch;
    const answer = (input: RequestInfo | URL, init?: RequestInit) => {
      const url = String(input);
      if (!url.startsWith("http://judge.test")) return plain(input, init);
      asked.push({ url, key: new Headers(init?.headers).get("authorization"), body: JSON.parse(String(init?.body)) });
      if (asked.length === 1) return Promise.reject(new TypeError("Failed to fetch"));
      const choices = [{ message: { content: "Right and short. Score: 9" } }];
      return Promise.resolve(Response.json({ choices, usage: { prompt_tokens: 90, completion_tokens: 9 } }));
    };
    Object.assign(globalThis, { asked, fetch: answer });
  });
  const verdict = async (): Promise<string> => {
    await press(page, "Try it");
    const said = await page.waitForFunction(() => {
      const text = document.querySelector(".judge-said")!.textContent!;
      return text !== "" && !text.startsWith("Asking") && text;
    });
    return (await said.jsonValue()) as string;
  };
  expect(await verdict()).toMatch(/The judge gave no score\. .*needs judge_model/);
  await type("Model that grades", "grader");
  expect(await verdict()).toMatch(/the connection failed.* allows requests from http:.*\(CORS\)/);
  expect(await verdict()).toMatch(/It works: the reward is 0\.9 .*Right and short\. Score: 9.*99 tokens/s);
  const asked = await page.evaluate(() => (globalThis as unknown as { asked: { url: string; key: string }[] }).asked);
  expect(asked.map(({ url, key }) => [url, key])).toEqual(
    Array(2).fill(["http://judge.test/v1/chat/completions", "Bearer sk-1"]),
  );
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).not.toContain("sk-1");
});
