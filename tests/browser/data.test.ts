import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Job } from "../../src/client/types.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// Where rows come from, what they are taken for, and how the model sees them. No GPU; the hub's answers are the test's.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await fakePage(), { policy: null });
});
afterAll(() => site.close());

async function open(data: string): Promise<Page> {
  const page = await web.open(`${site.url}?step=5&seed#/`);
  await page.waitForSelector("main h1");
  await (await page.waitForSelector(`::-p-aria([name="${data}"][role="radio"])`))!.click();
  return page;
}
const press = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`))!.click();
const textOf = (page: Page, selector: string) => page.$eval(selector, (element) => element.textContent ?? "");
/** Waits until the newest forecast is of such data, and gives them. */
async function planned(page: Page, kind: string): Promise<Job["phases"][0]["data"]> {
  const handle = await page.waitForFunction(
    (kind) => {
      const { phases } = (globalThis as unknown as { plans: Job[] }).plans.at(-1) ?? { phases: [] };
      return phases[0]?.data.kind === kind && phases[0].data;
    },
    {},
    kind,
  );
  return (await handle.jsonValue()) as Job["phases"][0]["data"];
}

test("pasted rows: their form, the columns that nothing uses, other columns, and the rows as the model sees them", async () => {
  const page = await open("Your file");
  await page.$eval(".own-file details", (one) => ((one as HTMLDetailsElement).open = true));
  const paste = (text: string) =>
    page.$eval(".own-file textarea", (area, text) => ((area as HTMLTextAreaElement).value = text), text);
  await paste("hello");
  await press(page, "Use these rows");
  expect(await textOf(page, ".own-file .wrong")).toMatch(/^One line is no table/);
  await paste("question;answer;id\nq1;a1;1\nq2;a2;2");
  await press(page, "Use these rows");
  await page.waitForSelector(".form-banner");
  expect(await textOf(page, ".form-banner p")).toBe("Read as question and answer. Nothing but rewards uses id.");
  expect(await planned(page, "file")).toMatchObject({ columns: { question: "question", answer: "answer" } });
  await press(page, "Change");
  await (await page.waitForSelector('::-p-aria([name="Answer"][role="combobox"])'))!.select("id");
  await page.waitForFunction(() => /id as answer/.test(document.querySelector(".form-banner p")!.textContent!));
  await page.$eval(".picker .detail details", (one) => ((one as HTMLDetailsElement).open = true));
  await page.waitForSelector(".seen-rows");
  expect(await textOf(page, ".seen .notes")).toMatch(/2 rows of 41 longer than max_length [\d,]+: cut/);
  expect(await textOf(page, ".part-target")).toBe("17<|im_end|>");
  expect(await textOf(page, ".seen-rows .wrong")).toBe("Row 2: row 2: no answer for sft");
  const bars = await page.$$eval(".lengths li b", (all) => all.map((one) => Number(one.textContent)));
  expect(bars.reduce((a, b) => a + b, 0)).toBe(40);
  await page.$eval(".seen", (one) => one.setAttribute("data-old", ""));
  await paste("question;answer\nq3;a3\nq4;a4");
  await press(page, "Use these rows");
  await page.waitForSelector(".seen:not([data-old]) .seen-rows"); // other rows leave the view open
});

test("the hub: search, config and split, and a pasted address; the focus stays in the search", async () => {
  const page = await open("Your file");
  await page.setRequestInterception(true);
  const answers: [RegExp, unknown][] = [
    [/api\/datasets\?search=sums/, [{ id: "me/sums", downloads: 1200 }, { id: "you/sums" }]],
    [
      /\/splits\?/,
      {
        splits: ["a", "b"].flatMap((config) =>
          ["train", "test"].map((split) => ({ config, split, dataset: "me/sums" })),
        ),
      },
    ],
    [/\/first-rows\?/, { rows: [{ row: { messages: [{ role: "user", content: "hi" }] } }] }],
  ];
  page.on("request", (request) => {
    const found = answers.find(([pattern]) => pattern.test(request.url()));
    const headers = { "Access-Control-Allow-Origin": "*" };
    if (found) void request.respond({ contentType: "application/json", headers, body: JSON.stringify(found[1]) });
    else void request.continue();
  });
  await (await page.waitForSelector('::-p-aria([name="From Hugging Face"][role="radio"])'))!.click();
  await page.type(".hub-picker input", "sums");
  await page.waitForSelector(".hub-results button");
  expect(await page.evaluate(() => document.activeElement?.closest(".hub-picker") !== null)).toBe(true);
  await press(page, "me/sums 1,200 downloads");
  await (await page.waitForSelector('::-p-aria([name="Split"][role="combobox"])'))!.select("test");
  await page.waitForFunction(() => {
    const { phases } = (globalThis as unknown as { plans: Job[] }).plans.at(-1) ?? { phases: [] };
    return phases[0]?.data.kind === "hub" && phases[0].data.split === "test" && phases[0].data.columns;
  });
  expect(await planned(page, "hub")).toEqual({
    kind: "hub",
    id: "me/sums",
    config: "a",
    split: "test",
    columns: { messages: "messages" },
  });
  await page.$eval(".hub-picker input", (input) => {
    (input as HTMLInputElement).value = "https://huggingface.co/datasets/me/sums/viewer/b/train";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await page.waitForFunction(() => {
    const { phases } = (globalThis as unknown as { plans: Job[] }).plans.at(-1) ?? { phases: [] };
    return phases[0]?.data.kind === "hub" && phases[0].data.config === "b";
  });
});
