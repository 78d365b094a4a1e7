// Puts scripts into every text from models, data, files and users, and opens the results in a browser: the page, its chat,
// reports, comparisons and the widget. No script may run, even without the page's CSP. `npx tsx scripts/attack/xss.ts [--n
// 120]` uses the npm package's Chromium and needs no GPU.

import { parseArgs } from "node:util";
import type { Page } from "puppeteer-core";
import { compareEvaluations } from "../../src/eval/compare/compare.ts";
import { readEvaluation } from "../../src/eval/compare/file.ts";
import { renderComparison } from "../../src/report/compare.ts";
import { renderEvaluation } from "../../src/report/evaluation.ts";
import { renderReport } from "../../src/report/training.ts";
import { built, entry } from "../../tests/browser/dist.ts";
import { fakePage } from "../../tests/browser/page-site.ts";
import { type Site, serve } from "../../tests/browser/site.ts";
import { connect, load, widgetSite } from "../../tests/browser/widget-model.ts";
import { evaluationText } from "../../tests/eval/compare/fixtures.ts";
import { openBrowser } from "./browser.ts";
import { PAYLOADS } from "./payloads.ts";

declare global {
  var ran: number;
}

/** A page's handling of a payload. */
interface Seen {
  /** where */
  where: string;
  payload: string;
  /** scripts that ran */
  ran: number;
  /** attributes and addresses that could run scripts later */
  live: string[];
  /** whether the page shows the payload as text */
  shown: boolean;
}

/** Replaces every text in a value, and every key of a dictionary that `names` accepts. */
function poison<T>(value: T, payload: string, keep: RegExp, key = ""): T {
  if (typeof value === "string") return (keep.test(key) ? value : payload) as T;
  if (Array.isArray(value)) return value.map((one) => poison(one, payload, keep, key)) as T;
  if (typeof value !== "object" || value === null) return value;
  const rename = /^(source_stats|source_accuracies|difficulty_accuracies|environment|summary|memory|rewards)$/.test(
    key,
  );
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [rename ? `${payload}${name}` : name, poison(one, payload, keep, name)]),
  ) as T;
}

/** Opens a page that counts scripts that run, regardless of the page's CSP. */
async function openPage(browser: { newPage(): Promise<Page> }): Promise<Page> {
  const page = await browser.newPage();
  await page.setBypassCSP(true);
  page.on("dialog", (dialog) => void dialog.dismiss());
  await page.evaluateOnNewDocument("globalThis.__name = (it) => it"); // a helper that tsx inserts into functions
  await page.evaluateOnNewDocument(() => {
    globalThis.ran = 0;
    Object.assign(globalThis, { pwned: () => void globalThis.ran++ });
  });
  return page;
}

/** Triggers everything that could run, and reports the findings. */
function look(page: Page, where: string, payload: string): Promise<Seen> {
  return page.evaluate(
    async (where, payload) => {
      const all: Element[] = [];
      const collect = (root: ParentNode): void => {
        for (const element of root.querySelectorAll("*")) {
          all.push(element);
          if (element.shadowRoot) collect(element.shadowRoot);
        }
      };
      collect(document);
      const live = all.flatMap((element) => {
        const own = [...element.attributes].filter(
          ({ name, value }) =>
            /^on/i.test(name) ||
            (/^(href|src|action|data|formaction|srcdoc)$/i.test(name) && /^\s*(javascript|data:text)/i.test(value)),
        );
        return own.map(({ name, value }) => `${element.tagName} ${name}=${value}`);
      });
      for (const element of all) {
        for (const type of ["mouseover", "focus", "animationstart", "toggle"]) element.dispatchEvent(new Event(type));
      }
      await new Promise((done) => setTimeout(done, 30)); // time for images to fail and frames to load
      const text = all.map((element) => (element.shadowRoot ?? element).textContent).join("\n");
      const values = all.map((element) => (element as HTMLInputElement).value ?? "").join("\n");
      const squeezed = (from: string) => from.replace(/\s+/g, "");
      const shown = squeezed(`${text}${values}`).includes(squeezed(payload));
      return { where, payload, ran: globalThis.ran, live, shown };
    },
    where,
    payload,
  );
}

/** Stored records of runs with the payload in every text. */
function poisoned(
  payload: string,
  seed: Record<string, unknown>,
  id: string,
  failed: boolean,
): Record<string, unknown> {
  const keep = /^(id|kind|method|stage|finish_reason|status|rows)$/;
  const run = poison(structuredClone(seed), payload, keep);
  const logs = (run.logs as Record<string, unknown>[][]).map((phase) =>
    phase.map((log) => ({ ...log, [`rewards/${payload}/mean`]: 1, [payload]: 2 })),
  );
  return { ...run, id, logs, status: failed ? "failed" : "finished", problem: failed ? payload : null };
}

async function attackPage(page: Page, site: Site, payloads: readonly string[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  await page.goto(`${site.url}?step=1&seed#/runs/seed-1`, { waitUntil: "load" });
  await page.waitForSelector("main h1");
  const seed = await page.evaluate(() =>
    JSON.parse(localStorage.getItem("fake.runs")!).find(({ id }: { id: string }) => id === "seed-1"),
  );
  seed.completions = [{ phase: 1, step: 1, records: [completion(1), completion(0)] }];
  for (const payload of payloads) {
    const runs = [poisoned(payload, seed, "one", false), poisoned(payload, seed, "two", true)];
    await page.evaluate(
      (runs, payload) => {
        localStorage.setItem("fake.runs", runs);
        sessionStorage.setItem("fake.text", payload);
      },
      JSON.stringify(runs),
      payload,
    );
    for (const view of ["#/runs", "#/runs/one", "#/runs/one/result", "#/runs/two", "#/storage", "#/"]) {
      await page.goto(`${site.url}?step=1&at=${encodeURIComponent(view)}${view}`, { waitUntil: "load" });
      await page.waitForSelector("main h1");
      if (view === "#/runs") {
        for (const box of await page.$$("main input[type=checkbox]")) await box.click();
        await page.waitForSelector(".compare .line");
      }
      if (view === "#/") await giveFile(page, payload);
      if (view.endsWith("result")) await chat(page);
      seen.push(await look(page, `page ${view}`, payload));
    }
  }
  return seen;
}

const completion = (correct: number) => ({
  step: 1,
  prompt: "p",
  completion: "c",
  rewards: { r: correct },
  advantage: correct,
  finish_reason: "stop",
  length: 3,
});

/** A data file with the payload as name, columns and rows. */
async function giveFile(page: Page, payload: string): Promise<void> {
  await (await page.waitForSelector('::-p-aria([name="Your file"][role="radio"])'))!.click();
  const input = await page.waitForSelector('input[type="file"]:not([webkitdirectory])[accept*=".csv"]');
  await page.evaluate(
    (element, payload) => {
      const flat = payload.replaceAll(";", ",").replaceAll("\n", " ");
      const transfer = new DataTransfer();
      transfer.items.add(new File([`${flat};b\n${flat};${flat}\n${flat};4\n`], `${payload.replaceAll("/", "∕")}.csv`));
      (element as HTMLInputElement).files = transfer.files;
      element!.dispatchEvent(new Event("change"));
    },
    input,
    payload,
  );
  await page.waitForFunction(() => /have the columns/.test(document.querySelector("#page")!.textContent!));
}

/** Chats with a model whose answer is the payload. */
async function chat(page: Page): Promise<void> {
  const input = await page.waitForSelector('::-p-aria([name="Your message"][role="textbox"])');
  await input!.type("Write HTML");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".bubble").length >= 2);
  await page.waitForFunction(() => document.querySelector(".ask .primary")!.getAttribute("aria-disabled") === "false");
}

/** The three kinds of report files, with the payload in every text. */
function reportsOf(payload: string): Record<string, string> {
  const file = (name: string) =>
    readEvaluation(
      evaluationText(name, [[1, 8], [0, 8], "error"], {
        dataset: payload,
        model: payload,
        adapter: payload,
        texts: [payload, payload, payload],
        sources: [payload, `${payload}2`, payload],
        ids: [payload, payload, payload],
        results: { difficulty_accuracies: { [payload]: 1, [`${payload}2`]: 2 } },
      }),
      `${payload}.json`,
    );
  const { results, records } = JSON.parse(
    evaluationText(
      payload,
      [
        [1, 8],
        [0, 8],
      ],
      { texts: [payload, payload] },
    ),
  );
  const whole = {
    ...results,
    accuracy: 50,
    correct_answers: 1,
    total_problems: 2,
    pass_at_k: 50,
    majority_accuracy: 50,
    source_stats: { a: { total: 2, correct: 1 } },
    source_accuracies: { a: 50 },
    difficulty_accuracies: { a: 50 },
    outcomes: { a: 1 },
  };
  const filled = Object.values(records).map((record) => ({ ...(record as object), difficulty: "a" }));
  return {
    training: renderReport(
      poison(
        {
          title: "t",
          subtitle: "s",
          recipe: "r",
          logs: [
            { step: 1, loss: 1, [`rewards/${payload}/mean`]: 1, [payload]: 3 },
            { step: 2, loss: 2, [`rewards/${payload}/mean`]: 2, [payload]: 3 },
          ],
          environment: { adapter: "a" },
          memory: { weights: "1" },
          summary: { text: "x" },
          completions: [{ step: 1, file: "f", completions: [completion(1), completion(0)] }],
        },
        payload,
        /^$/,
      ) as never,
    ),
    evaluation: renderEvaluation(poison(whole, payload, /^$/) as never, poison(filled, payload, /^$/) as never),
    comparison: renderComparison(compareEvaluations([file("base"), file(payload)], { resamples: 20 })),
  };
}

async function attackReports(page: Page, site: Site, payloads: readonly string[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  for (const payload of payloads) {
    for (const [kind, html] of Object.entries(reportsOf(payload))) {
      site.files.set("report.html", html);
      await page.goto(`${site.url}report.html`, { waitUntil: "load" });
      seen.push(await look(page, `${kind} report`, payload));
    }
  }
  return seen;
}

/** A control: the payloads without escaping. If none of them ran, the test would prove nothing. */
async function control(page: Page, site: Site, payloads: readonly string[]): Promise<number> {
  let count = 0;
  for (const payload of payloads) {
    const html = `<!doctype html><p>${payload}</p><p><input value="${payload}"><input value='${payload}'><!-- ${payload} --></p>`;
    site.files.set("raw.html", html);
    await page.goto(`${site.url}raw.html`, { waitUntil: "load" });
    const { ran, live } = await look(page, "raw", payload);
    if (ran > 0 || live.length > 0) count++;
  }
  return count;
}

async function attackWidget(browser: { newPage(): Promise<Page> }, site: Site, payloads: readonly string[]) {
  const seen: Seen[] = [];
  for (const payload of payloads) {
    const page = await openPage(browser);
    await page.goto(site.url, { waitUntil: "load" });
    await connect(page, () => {});
    const job = {
      name: payload,
      model: { kind: "files", name: payload },
      phases: [{ method: "sft", data: { kind: "file", name: payload }, recipe: {} }],
    };
    await load(page, { job, files: {}, command: "start", assets: payload });
    await page.evaluate(() => widgets.show());
    await page.waitForFunction(() => {
      const shadow = document.querySelector("body > div > div")?.shadowRoot;
      return shadow && !(shadow.querySelector(".problem") as HTMLElement).hidden;
    });
    seen.push(await look(page, "widget", payload));
    await page.close();
  }
  return seen;
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { n: { type: "string", default: String(PAYLOADS.length) } } });
  const payloads = PAYLOADS.slice(0, Number(values.n));
  const { browser, close } = await openBrowser();
  const sites = [
    await serve(new Map(await fakePage()), { policy: null }),
    await serve(new Map(), { policy: null }),
    await serve(await widgetSite(String((await built("widget")).get(entry("./widget")))), { policy: null }),
  ];
  const page = await openPage(browser);
  const raw = await control(page, sites[1], payloads);
  const seen = [
    ...(await attackPage(page, sites[0], payloads)),
    ...(await attackReports(page, sites[1], payloads)),
    ...(await attackWidget(browser, sites[2], payloads)),
  ];
  await close();
  for (const site of sites) await site.close();
  const places = [...new Set(seen.map(({ where }) => where))];
  console.log("| place | payloads | shown as text | ran | could run |\n|---|---|---|---|---|");
  for (const place of places) {
    const here = seen.filter(({ where }) => where === place);
    const count = (is: (one: Seen) => boolean) => here.filter(is).length;
    console.log(
      `| ${place} | ${here.length} | ${count(({ shown }) => shown)} | ${count(({ ran }) => ran > 0)} | ${count(({ live }) => live.length > 0)} |`,
    );
  }
  console.log(`Without escaping, ${raw} of ${payloads.length} run.`);
  const bad = seen.filter(({ ran, live }) => ran > 0 || live.length > 0);
  for (const { where, payload, ran, live } of bad)
    console.log(`${where}: ${payload} ran ${ran} times; ${live.join("; ")}`);
  return bad.length > 0 || raw < payloads.length / 2 ? 1 : 0;
}

process.exit(await main());
