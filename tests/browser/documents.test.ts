import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { docx, pdf } from "../data/documents/files.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { once } from "./once.ts";
import { builtPage, fakePage } from "./page-site.ts";

// From documents to training rows in the page, as a person would do it: with a trainer that needs no GPU, and with the real
// worker and an endpoint.

const KEY = "sk-page-0123456789abcdef";
const web = useBrowser();
let fake: Site;
let real: Site;
let endpoint: Server;
let asked: { authorization: string | undefined; prompt: string }[] = [];

beforeAll(async () => {
  fake = await serve(await fakePage(), { policy: null });
  real = await serve(await once("built page", builtPage), { policy: null });
  endpoint = createServer((request, response) => {
    const cors = { "access-control-allow-origin": "*", "access-control-allow-headers": "*" };
    if (request.method === "OPTIONS") return response.writeHead(204, cors).end();
    const parts: Buffer[] = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const prompt: string = JSON.parse(Buffer.concat(parts).toString()).messages[0].content;
      asked.push({ authorization: request.headers.authorization, prompt });
      const pumps = [...new Set([...prompt.matchAll(/Pump (\d+) lifts/g)].map(([, n]) => n))];
      const pairs = pumps.map((n) => ({ question: `How much does pump ${n} lift?`, answer: `${n}0 litres.` }));
      const body = { choices: [{ message: { content: `Here they are:\n${JSON.stringify(pairs)}` } }], usage: {} };
      response.writeHead(200, { ...cors, "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((done) => endpoint.listen(0, "127.0.0.1", done));
});
afterAll(async () => {
  endpoint.closeAllConnections();
  await Promise.all([fake.close(), real.close(), new Promise((done) => endpoint.close(done))]);
});

const by = async (page: Page, name: string, role: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`))!;
const press = async (page: Page, name: string) => (await by(page, name, "button")).click();
const shown = (page: Page, pattern: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source, "s").test(document.querySelector("#page")!.textContent!),
    {},
    pattern.source,
  );

/** Drops files on the zone, as from a folder. */
async function drop(page: Page, files: Record<string, Uint8Array>): Promise<void> {
  await page.waitForSelector(".drop");
  const list = Object.entries(files).map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]);
  await page.evaluate((list) => {
    const dataTransfer = new DataTransfer();
    for (const [name, text] of list) {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      dataTransfer.items.add(new File([bytes], name));
    }
    const zone = document.querySelector(".drop")!;
    for (const type of ["dragover", "drop"]) {
      zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
  }, list);
}

/** Changes the answer of the pair whose question begins so. */
async function edit(page: Page, question: string, answer: string): Promise<void> {
  await (await page.waitForSelector(`button[aria-label^="Edit: ${question}"]`))!.click();
  const field = await by(page, "Answer", "textbox");
  await field.click({ count: 3 });
  await field.type(answer);
  await press(page, "Save");
  await page.waitForFunction(
    (answer) => [...document.querySelectorAll(".pair > .text")].some((one) => one.textContent === answer),
    {},
    answer,
  );
}

const FACTS = [
  "The pump in hall 3 lifts 40 litres a minute. It is checked every Monday morning.",
  "The boiler in hall 5 holds 900 litres. Only Ms Ruiz may open its large valve.",
];

test("a PDF dropped, its chunk seen, pairs made, two edited, one dropped, training started on them", async () => {
  const page = await web.open(`${fake.url}?step=15#/documents`);
  await drop(page, { "manual.pdf": pdf(FACTS), "bad.pdf": new TextEncoder().encode("%PDF-1.4 nothing") });
  await shown(page, /manual\.pdf.*PDF · 2 pages/);
  await shown(page, /Cannot read bad\.pdf as PDF: Invalid PDF structure\./);
  await (await page.waitForSelector(".chunk-lists summary"))!.click();
  await shown(page, /1 chunk.*tokens · pages 1 to 2.*The pump in hall 3 lifts 40 litres/);

  await press(page, "Make pairs");
  await shown(page, /4 pairs kept, 0 dropped\./);
  await edit(page, "What does the text say about “The pump", "Forty litres a minute.");
  await edit(page, "What does the text say about “The boiler", "900 litres, in hall 5.");
  await (await page.waitForSelector('button[aria-label^="Drop: What does the text say about “Only Ms"]'))!.click();
  await shown(page, /3 pairs kept, 1 dropped\./);
  await shown(page, /dropped by hand/);
  // an unfinished edit outlives a change of another pair
  await (await page.waitForSelector('button[aria-label^="Edit: What does the text say about “It is"]'))!.click();
  await (await by(page, "Answer", "textbox")).type("Unfinished. ");
  await (await page.waitForSelector('button[aria-label^="Keep: "]'))!.click();
  await shown(page, /4 pairs kept, 0 dropped\./);
  expect(await (await by(page, "Answer", "textbox")).evaluate((one) => (one as HTMLTextAreaElement).value)).toContain(
    "Unfinished. ",
  );
  await press(page, "Cancel");

  await press(page, "Train on these 4 pairs");
  await shown(page, /Train on your documents.*manual\.jsonl, .*4 rows/);
  await shown(page, /Forty litres a minute\./);
  await shown(page, /of GPU memory/);
  const problems = await by(page, "Problems", "combobox");
  expect(await problems.evaluate((list) => (list as HTMLSelectElement).value)).toBe("none");
  const train = await by(page, "Train", "button");
  await page.waitForFunction((button) => !(button as HTMLButtonElement).disabled, {}, train);
  await train.click();
  await shown(page, /embedded model on manual\.jsonl.*step [1-9]\d* of 30/);
  const runs = JSON.parse((await page.evaluate(() => localStorage.getItem("fake.runs")))!);
  expect(runs.at(-1).job).toMatchObject({ phases: [{ method: "sft", data: { kind: "file" } }], evaluate: null });
});

test("ratings leave pairs out with the reason; making again asks first when pairs were changed by hand", async () => {
  const page = await web.open(`${fake.url}?step=15#/documents`);
  await drop(page, { "manual.pdf": pdf(FACTS) });
  await shown(page, /PDF · 2 pages/);
  await press(page, "Make pairs");
  await shown(page, /4 pairs kept/);
  await press(page, "Rate and clean up");
  await shown(page, /rated 4, below 7/);
  await (await by(page, "Show", "combobox")).select("dropped");
  await page.waitForFunction(() => document.querySelectorAll(".pair:not(.dropped)").length === 0);
  await (await page.waitForSelector('button[aria-label^="Keep: "]'))!.click();
  await press(page, "Make pairs");
  await page.waitForSelector("dialog ::-p-text(Make all pairs again?)");
  await press(page, "Cancel");
  await press(page, "Remove manual.pdf");
  await press(page, "Remove");
  await page.waitForFunction(() => document.querySelectorAll(".pair").length === 0);
});

test("an endpoint that cannot be reached: what to check, and the pairs so far stay", async () => {
  const page = await web.open(`${fake.url}?step=15&fake=network#/documents`);
  await drop(page, { "manual.pdf": pdf(FACTS) });
  await shown(page, /PDF · 2 pages/);
  await (await by(page, "An endpoint", "radio")).click();
  const make = await by(page, "Make pairs", "button");
  expect(await make.evaluate((button) => button.getAttribute("aria-disabled"))).toBe("true");
  const address = await by(page, "Address", "textbox");
  await address.type("localhost:11434");
  await page.keyboard.press("Tab");
  await shown(page, /The address must begin with http/);
  await address.click({ count: 3 });
  await address.type("http://localhost:11434/v1");
  await (await by(page, "Model of the endpoint", "textbox")).type("qwen3:8b");
  await page.keyboard.press("Tab");
  await make.click();
  await shown(
    page,
    /Cannot ask the endpoint: Failed to fetch\. Check the address\. The server must allow requests from this page/,
  );
});

test("the real worker: a parser is fetched when such a file comes, an endpoint's key is stored nowhere, a reload keeps all", async () => {
  const page = await web.open(`${real.url}#/documents`);
  const fetched = (pattern: RegExp) => real.asked.some((path) => pattern.test(path));
  await page.waitForSelector(".drop");
  expect(fetched(/documents\.worker|pdf/)).toBe(false);
  const pumps = (from: number) => Array.from({ length: 6 }, (_, i) => `Pump ${from + i} lifts ${from + i}0 litres.`);
  await drop(page, { "pumps.docx": docx(`<w:p><w:r><w:t>${pumps(1).join(" ")}</w:t></w:r></w:p>`) });
  await shown(page, /pumps\.docx.*DOCX/);
  expect(fetched(/documents\.worker/)).toBe(true);
  expect(fetched(/pdf/)).toBe(false);
  await drop(page, { "pumps.pdf": pdf([pumps(7).join("\n")]) });
  await shown(page, /pumps\.pdf.*PDF · 1 page/);
  expect(fetched(/pdf/)).toBe(true);

  await (await by(page, "An endpoint", "radio")).click();
  const address = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/v1`;
  await (await by(page, "Address", "textbox")).type(address);
  await (await by(page, "Model of the endpoint", "textbox")).type("writer");
  await (await page.waitForSelector('input[type="password"]'))!.type(KEY);
  await page.keyboard.press("Tab");
  asked = [];
  await press(page, "Make pairs");
  await shown(page, /12 pairs kept, 0 dropped\./);
  expect(asked).toHaveLength(2);
  expect(asked.every(({ authorization }) => authorization === `Bearer ${KEY}`)).toBe(true);
  await edit(page, "How much does pump 1 lift", "Ten litres.");

  const stored = await page.evaluate(async () => {
    const found: string[] = [];
    const walk = async (folder: FileSystemDirectoryHandle, path: string): Promise<void> => {
      for await (const [name, handle] of (
        folder as unknown as { entries(): AsyncIterable<[string, FileSystemHandle]> }
      ).entries()) {
        if (handle.kind === "directory") await walk(handle as FileSystemDirectoryHandle, `${path}${name}/`);
        else found.push(`${path}${name}\n${await (await (handle as FileSystemFileHandle).getFile()).text()}`);
      }
    };
    await walk(await navigator.storage.getDirectory(), "");
    return [...found, JSON.stringify(localStorage), JSON.stringify(sessionStorage)];
  });
  expect(stored.map((file) => file.split("\n")[0])).toContain("qwench/documents/cleaned/pumps_0_cleaned.json");
  for (const file of stored) expect(file).not.toContain(KEY);

  await page.reload();
  await shown(page, /12 pairs kept, 0 dropped\..*Ten litres\./);
  await press(page, "Train on these 12 pairs");
  await shown(page, /Train on your documents.*12 rows.*user: How much does pump 1 lift\?.*Ten litres\./);
  await page.goto(`${real.url}#/storage`);
  await press(page, "Delete Documents and their pairs");
  await press(page, "Delete");
  await shown(page, /Nothing is stored yet\./);
});
