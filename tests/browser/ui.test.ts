import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RunFolders } from "../../src/cli/ui/folders.ts";
import { serveUi, type UiServer } from "../../src/cli/ui/server.ts";
import { built } from "./dist.ts";
import { useBrowser } from "./harness.ts";

// The page of `qwench ui` on folders like those of the command line, one of them hostile.

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const web = useBrowser();
const root = mkdtempSync(join(tmpdir(), "qwench-ui-page-"));
const at = (...names: string[]) => join(root, ...names);
const ATTACK = `</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
let server: UiServer;

beforeAll(async () => {
  for (const name of ["live", "hostile"]) {
    mkdirSync(at(name, "completions"), { recursive: true });
    const odd = name === "hostile" ? ATTACK : "";
    const facts = {
      ...{ version: 1, method: "grpo", model: `tiny${odd}`, data: `gsm8k${odd}`, recipe: `max_steps: 40 # ${odd}\n` },
      ...{
        max_steps: 40,
        device: odd,
        began: "2026-01-02T03:04:05.000Z",
        ended: null,
        status: "failed",
        problem: odd || null,
      },
    };
    writeFileSync(at(name, "run.json"), JSON.stringify(facts));
    writeFileSync(at(name, "metrics.jsonl"), "");
    for (let step = 1; step <= 20; step++) log(name, step, odd);
    const completion = { step: 1, prompt: `p${odd}`, completion: `c${odd}`, [`reward${odd}`]: 1 };
    const rest = { advantage: 0.5, finish_reason: odd || "stop", length: 3 };
    writeFileSync(
      at(name, "completions", "completions_00001.jsonl"),
      `${JSON.stringify({ ...completion, ...rest })}\n`,
    );
    writeFileSync(at(name, "report.html"), ATTACK);
  }
  const script = (await built("ui")).get("dist/ui.js")!.toString();
  server = await serveUi(new RunFolders([root]), { port: 0, script });
});
afterAll(async () => {
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

function log(name: string, step: number, odd = "") {
  const record = { step, reward: step / 40, loss: 1 / step, [`rewards/x${odd}/mean`]: step, elapsed: 2 * step };
  appendFileSync(at(name, "metrics.jsonl"), `${JSON.stringify(record)}\n`);
}

test("lists runs, follows one as it grows, and runs nothing of a hostile folder", async () => {
  const page = await web.open(server.url);
  await page.waitForFunction(() => document.querySelectorAll(".run-list li").length === 2);
  expect(page.url()).not.toContain("token"); // it does not stay in the history
  expect(await page.$$eval("button", (all) => all.map(({ textContent }) => textContent))).not.toContain("Delete");
  expect(await page.$("input[type=file]")).toBeNull(); // nothing can be imported
  for (const box of await page.$$(".run-list input")) await box.click();
  await page.waitForFunction(() => document.querySelectorAll(".compare .line").length === 2);
  await page.waitForFunction(() => /Differences of the recipes.*model/.test(document.body.textContent!));

  const go = (hash: string) => page.evaluate((to) => void (location.hash = to), hash);
  const runs: Record<string, string> = Object.fromEntries(
    await page.$$eval(".run-list a", (all) => all.map((a) => [a.textContent, (a as HTMLAnchorElement).hash])),
  );
  await go(runs.live);
  await page.waitForSelector(".stages");
  await page.waitForSelector(".phase-charts svg");
  expect(await page.$eval(".stages", ({ textContent }) => textContent)).toContain("step 20 of 40");
  log("live", 21);
  await page.waitForFunction(() => document.querySelector(".stages")!.textContent!.includes("step 21 of 40"));
  await page.evaluate(axe);
  const { violations } = (await page.evaluate("axe.run('main')")) as AxeResults;
  expect(violations.filter(({ impact }) => impact === "serious" || impact === "critical")).toEqual([]);
  const buttons = await page.$$eval(".run-header button", (all) => all.filter((one) => one.checkVisibility()).length);
  expect(buttons).toBe(0);
  expect(await page.$(".run-more")).toBeNull();
  await go(`${runs.live.replace(/\/result$/, "")}/result`);
  await page.waitForFunction(() => document.querySelector(".figures")?.textContent?.includes("42 s"));

  await go(runs.hostile);
  await page.waitForFunction(() => document.body.textContent!.includes("window.hacked=1"));
  await go(`${runs.hostile.replace(/\/result$/, "")}/result`);
  await page.waitForFunction(() => document.querySelector("pre")?.textContent?.includes("window.hacked=1"));
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  expect(await page.$$eval("main img, main script", (all) => all.length)).toBe(0);
});

test("without the token, says where to get one", async () => {
  web.expectFault(/401/);
  const page = await web.open(new URL("/", server.url).href);
  await page.waitForFunction(() => document.body.textContent!.includes("Open the address that qwench ui has printed"));
});
