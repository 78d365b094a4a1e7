import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChatRequest } from "../../src/client/types.ts";
import { HOSTILE } from "./fake-runs.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// The chat: two models that hear the same questions, their settings, and answers as Markdown. No GPU: the answers are the fake's.

const web = useBrowser({ keepPages: true });
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
});
afterAll(() => site.close());

async function open(hash: string): Promise<Page> {
  const page = await web.open(`${site.url}?step=5&seed${hash}`);
  await page.waitForSelector(".ask textarea");
  return page;
}
const settled = (page: Page) =>
  page.waitForFunction(() => document.querySelector(".ask .primary")!.getAttribute("aria-disabled") === "false");
async function ask(page: Page, text: string): Promise<void> {
  await page.type(".ask textarea", text);
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    (text) => [...document.querySelectorAll(".user .text")].at(-1)?.textContent === text,
    {},
    text,
  );
  await settled(page);
}
/** What the trainer was asked since the last call. */
const asked = (page: Page): Promise<ChatRequest[]> =>
  page.evaluate(() => (globalThis as unknown as { chats: ChatRequest[] }).chats.splice(0));
const answers = (page: Page) =>
  page.$$eval(".turn:last-child .model .text", (all) =>
    all.map((one) => {
      const copy = one.cloneNode(true) as HTMLElement;
      for (const line of copy.querySelectorAll("br")) line.replaceWith("\n");
      return copy.textContent!.trim();
    }),
  );
const press = (page: Page, selector: string) => page.$eval(selector, (button) => (button as HTMLElement).click());

describe("two panes of a run", () => {
  let page: Page;
  beforeAll(async () => {
    page = await open("#/runs/seed-1/result");
  });

  test("both answer one question, each from its own history", async () => {
    await ask(page, "How many apples?");
    expect(await answers(page)).toEqual([
      "There are 12 apples and 5 more apples. 12",
      "<reasoning>\n12+5=17\n</reasoning>\n<answer>\n17\n</answer>",
    ]);
    await ask(page, "And now?");
    const requests = await asked(page);
    expect(requests.map(({ adapter }) => adapter)).toEqual([false, true, false, true]);
    const said = (request: ChatRequest) =>
      request.messages.filter(({ role }) => role === "assistant").map((m) => m.content);
    expect(requests.map(said)).toEqual([
      [],
      [],
      ["There are 12 apples and 5 more apples. 12"],
      ["<reasoning>\n12+5=17\n</reasoning>\n<answer>\n17\n</answer>\n"],
    ]);
    expect(await page.$eval(".turn:last-child .foot", (foot) => foot.textContent)).toMatch(
      /^30 tokens, 30(\.0)? tokens\/s/,
    );
  });

  test("again draws one pane's newest answer; edit takes the question back", async () => {
    await press(page, ".turn:last-child .model:last-child .again");
    await settled(page);
    const [again, ...more] = await asked(page);
    expect(more).toEqual([]);
    expect(again.messages).toHaveLength(3);
    await press(page, ".turn:first-child .user button");
    expect(await page.$$(".turn")).toHaveLength(0);
    expect(await page.$eval(".ask textarea", (area) => (area as HTMLTextAreaElement).value)).toBe("How many apples?");
    await page.$eval(".ask textarea", (area) => ((area as HTMLTextAreaElement).value = ""));
  });

  test("the settings go with the question, and impossible ones do not", async () => {
    await page.$eval(".chat-settings", (details) => ((details as HTMLDetailsElement).open = true));
    const fill = async (name: string, text: string) => {
      const field = (await page.waitForSelector(`.chat-settings ::-p-aria([name="${name}"])`))!;
      await field.click({ count: 3 });
      await field.type(text);
      await page.keyboard.press("Tab");
    };
    await fill("System prompt", "Be brief.");
    await fill("Temperature", "0.7");
    await fill("Top-p", "9");
    await fill("Longest answer, tokens", "64");
    await fill("Seed", "7");
    await ask(page, "Hello");
    const [request] = await asked(page);
    expect(request).toMatchObject({ temperature: 0.7, top_p: 1, max_new_tokens: 64, seed: 7 });
    expect(request.messages[0]).toEqual({ role: "system", content: "Be brief." });
  });

  test("another checkpoint begins a history of its own", async () => {
    const [first] = await page.$$(".chat-panes select");
    await first.select("1/40");
    await ask(page, "Who are you?");
    const requests = await asked(page);
    expect(requests.map(({ checkpoint }) => checkpoint ?? null)).toEqual([{ phase: 1, step: 40 }, null]);
    expect(requests.map(({ messages }) => messages.length)).toEqual([2, 4]);
  });
});

test("Markdown and LaTeX are shown; nothing in an answer runs or loads", async () => {
  const page = await open("#/chat");
  site.asked.length = 0;
  await ask(page, "markdown");
  await page.waitForSelector(".rendered math");
  expect(await page.$$eval(".rendered :is(h2, li, code, td, math)", (all) => all.map((one) => one.localName))).toEqual([
    "h2",
    ...["li", "li"],
    "code",
    ...["td", "td"],
    ...["math", "math"],
  ]);
  expect(await page.$eval(".rendered", (body) => body.textContent)).toMatch(/costs \$5 and \$6/);
  const link = await page.$eval(".rendered a", (a) => [a.getAttribute("href"), a.getAttribute("rel")]);
  expect(link).toEqual(["https://example.org/", "noopener noreferrer nofollow"]);
  expect(await page.$$(".rendered a[href]")).toHaveLength(1);
  await ask(page, "Write HTML");
  await page.waitForFunction(() => document.querySelectorAll(".rendered").length === 2);
  expect((await answers(page))[0]).toBe(HOSTILE);
  expect(await page.$$("main img, main script, main iframe, main style, main [style*=url]")).toHaveLength(0);
  expect(await page.title()).not.toBe("owned");
  // the page's own files may still load on a busy machine
  expect(site.asked.filter((path) => !/^\/(assets\/|service-worker\.js$)/.test(path))).toEqual([]);
});
