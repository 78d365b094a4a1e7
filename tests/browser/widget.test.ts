import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { built, entry } from "./dist.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { QUICK } from "./trainer.ts";
import { connect, load, type ToKernel, update, widgetSite } from "./widget-model.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const web = useBrowser();
let site: Site;
const files: Record<string, Uint8Array> = {}; // of the trait of that name
beforeAll(async () => {
  const widget = (await built("widget")).get(entry("./widget"));
  site = await serve(await widgetSite(String(widget)), { policy: null });
  const model = await tinyChatModel();
  for (const name of await model.list()) {
    const source = await model.open(name);
    files[`random/${name}`] = await source.read(0, source.size);
  }
});
afterAll(() => site.close());

const EVIL = `<img src="data:," onerror="document.title='broken'">`;
/** A click within the page takes milliseconds, so that many steps are left after it. */
const STEPS = 100;
const JOB = {
  name: EVIL,
  model: { kind: "files", name: "random" },
  phases: [{ method: "sft", data: { kind: "file", name: "rows.jsonl" }, recipe: { ...QUICK.sft, max_steps: STEPS } }],
};
files["rows.jsonl"] = Buffer.from(
  [1, 2, 3, 4].map((n) => `${JSON.stringify({ prompt: `What is ${n}+1?`, completion: `${n + 1}` })}\n`).join(""),
);

/** A notebook with one widget, and all that it told the kernel. */
async function notebook(traits: Record<string, unknown>) {
  const page = await web.open(site.url);
  const told: ToKernel[] = [];
  await connect(page, (message) => told.push(message));
  await load(page, { command: "", ...traits });
  const traitOf = (name: string): unknown => {
    const updates = told.flatMap((message) => (message.method === "update" ? [message.state] : []));
    return updates.findLast((state) => name in state)?.[name];
  };
  const becomes = (status: string) => expect.poll(() => traitOf("status")).toBe(status);
  return { page, told, traitOf, becomes };
}

const button = (page: Page, name: string) => page.locator(`::-p-aria([name="${name}"][role="button"])`);

interface Piece {
  /** absent in the last message */
  name?: string;
  offset: number;
  size: number;
  base64?: string;
}

/** The PEFT files that messages hold, put together from their pieces. */
function adapterOf(told: readonly ToKernel[]): Map<string, Buffer> {
  const messages = told.flatMap((message) => (message.method === "custom" ? [message] : []));
  const files = new Map<string, Buffer>();
  for (const { content, buffers } of messages) {
    const { name, offset, size, base64 } = content as unknown as Piece;
    if (!name) continue;
    if (!files.has(name)) files.set(name, Buffer.alloc(size));
    files.get(name)!.set(base64 === undefined ? buffers[0] : Buffer.from(base64, "base64"), offset);
  }
  const { sizes } = messages.at(-1)!.content;
  expect(Object.fromEntries([...files].map(([name, { length }]) => [name, length]))).toEqual(sizes);
  return files;
}

async function adapterFolder(told: readonly ToKernel[]) {
  const folder = memoryFolder();
  for (const [name, bytes] of adapterOf(told)) await folder.write(name, bytes);
  return folder;
}

describe("the widget", () => {
  test("trains a job from Python with files from Python, pauses, continues, shows progress and sends the adapter", async () => {
    const { page, told, traitOf, becomes } = await notebook({ job: JOB, files, command: "start" });
    const [, second] = await page.evaluate(async () => [await widgets.show(), await widgets.show()]);
    // of the first view; both show one trainer. From within the page: a click from outside may come after the last step
    await page.evaluate(async () => {
      const step = () => (widgets.get("progress") as { step?: number } | null)?.step ?? 0;
      while (step() === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      const shadow = document.querySelector("body > div > div")!.shadowRoot!;
      [...shadow.querySelectorAll("button")].find(({ textContent }) => textContent === "Pause")!.click();
    });
    await becomes("paused");
    expect(traitOf("command")).toBe("");
    const paused = traitOf("progress") as { step: number };
    expect(paused.step).toBeLessThan(STEPS);
    await page.evaluate((view) => widgets.close(view), second);
    await button(page, "Go on").click();
    await becomes("finished");

    expect(traitOf("problem")).toBe("");
    expect(traitOf("progress")).toEqual({ phase: 0, method: "sft", step: STEPS, max_steps: STEPS });
    const [sft] = traitOf("logs") as { step: number; loss: number }[][];
    expect(sft.map(({ step }) => step)).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1));
    expect(traitOf("metrics")).toEqual(sft.at(-1));
    const adapter = await readAdapter(await adapterFolder(told));
    expect(adapter.config.r).toBe(QUICK.sft.lora_r);

    // what the user sees, and what came from data is text
    const shown = await page.evaluate(() => {
      const shadow = document.querySelector("body > div > div")!.shadowRoot!;
      return {
        title: document.title,
        text: shadow.querySelector("header")!.textContent,
        images: shadow.querySelectorAll("img").length,
      };
    });
    expect(shown).toMatchObject({ title: "Test", images: 0, text: expect.stringContaining(`${EVIL}finished`) });
    // charts are drawn when there is time
    const charts = () =>
      page.evaluate(() => {
        const shadow = document.querySelector("body > div > div")!.shadowRoot!;
        return [...shadow.querySelectorAll(".plot")].map((plot) => plot.getAttribute("aria-label")!);
      });
    await expect
      .poll(charts)
      .toContainEqual(expect.stringMatching(new RegExp(`^Loss: .* at step 1, .* at step ${STEPS}$`)));

    // once more, for a host that loses buffers
    const sent = adapterOf(told);
    told.length = 0;
    await update(page, { binary: false, command: "adapter" });
    await expect
      .poll(() => told.findLast(({ method }) => method === "custom"))
      .toMatchObject({ content: { sizes: {} } });
    expect(told.every((message) => message.method === "update" || message.buffers.length === 0)).toBe(true);
    expect(adapterOf(told)).toEqual(sent);

    await page.evaluate(axe);
    for (const [color, scheme] of [
      ["rgb(20 20 20)", "light"],
      ["oklch(0.95 0.01 90)", "dark"],
    ]) {
      await page.evaluate((color) => document.body.setAttribute("style", `color: ${color}`), color);
      const followed = () =>
        page.evaluate(() => getComputedStyle(document.querySelector("body > div > div")!).colorScheme);
      await expect.poll(followed).toBe(scheme);
      const { violations } = (await page.evaluate("axe.run('body > div')")) as AxeResults;
      expect(violations.filter(({ impact }) => impact === "serious" || impact === "critical")).toEqual([]);
    }
  });

  test.each([
    ["no job", {}, /^Cannot train: the trait job needs a model and phases/],
    [
      "a model's files that are not there",
      { job: { ...JOB, model: { kind: "files", name: "other" } }, files },
      /^Cannot open other\/: the trait files holds .*random\/config\.json/,
    ],
    [
      "the embedded model without its address",
      { job: { ...JOB, model: { kind: "embedded" } }, files },
      /set the trait assets/,
    ],
    [
      "an option that nobody knows",
      { job: { ...JOB, phases: [{ ...JOB.phases[0], recipe: { learning_rat: 1 } }] }, files },
      /learning_rate/,
    ],
    ["a command that nobody knows", { command: "fly" }, /^Cannot execute "fly"/],
  ])("reports the error of %s", async (_, traits, problem) => {
    const { page, traitOf } = await notebook(traits);
    await page.evaluate(() => widgets.show());
    if (!("command" in traits)) await update(page, { command: "start" });
    await expect.poll(() => traitOf("problem")).toMatch(problem);
    await page.locator(`::-p-aria([role="alert"])`).wait();
  });
});
