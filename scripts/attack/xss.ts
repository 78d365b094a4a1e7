// Puts scripts into every text from models, data, files and users, and opens the results in a browser: the page, its chat,
// reports, comparisons and the widget. No script may run, even without the page's CSP. `npx tsx scripts/attack/xss.ts [--n
// 120]` uses the npm package's Chromium and needs no GPU.

import { parseArgs } from "node:util";
import type { Page } from "puppeteer-core";
import { built, entry } from "../../tests/browser/dist.ts";
import { fakePage } from "../../tests/browser/page-site.ts";
import { type Site, serve } from "../../tests/browser/site.ts";
import { connect, load, widgetSite } from "../../tests/browser/widget-model.ts";
import { openBrowser } from "./browser.ts";
import { completion, PAYLOADS, poison, reportsOf } from "./payloads.ts";
import { tellProgress } from "./rounds.ts";

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

/** Opens a page that counts what runs in it, whatever its own policy forbids. */
async function openPage(browser: { newPage(): Promise<Page> }): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(600_000);
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
      const { ran } = globalThis;
      globalThis.ran = 0;
      return { where, payload, ran, live, shown };
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
  for (const [i, payload] of payloads.entries()) {
    const [one, two] = [`one-${i}`, `two-${i}`];
    const runs = [poisoned(payload, seed, one, false), poisoned(payload, seed, two, true)];
    await page.evaluate(
      (runs, payload) => {
        localStorage.setItem("fake.runs", runs);
        sessionStorage.setItem("fake.text", payload);
      },
      JSON.stringify(runs),
      payload,
    );
    const views = { runs: "#/runs", run: `#/runs/${one}`, result: `#/runs/${one}/result`, failed: `#/runs/${two}` };
    for (const [name, hash] of Object.entries({ ...views, storage: "#/storage", start: "#/" })) {
      await page.evaluate((hash) => {
        document.querySelector("main h1")?.remove(); // the next view brings its own
        location.hash = hash;
      }, hash);
      await page.waitForSelector("main h1");
      if (name === "runs") {
        for (const box of await page.$$("main input[type=checkbox]")) await box.click();
        await page.waitForSelector(".compare .line");
      }
      if (name === "start") await giveFile(page, payload);
      if (name === "result") await chat(page);
      seen.push(await look(page, `page, ${name}`, payload));
    }
    tellProgress("page", i + 1, i + 1, payloads.length);
  }
  return seen;
}

/** A data file whose name, columns and rows are the payload. */
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
