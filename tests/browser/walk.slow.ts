import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { strFromU8, unzipSync } from "fflate";
import type { ElementHandle } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { linkOf } from "../../demo/draft/link.ts";
import type { Draft } from "../../demo/jobs.ts";
import type { FakeHub } from "../io/hub/fake-hub.ts";
import { type JudgeServer, says, serveJudge } from "../rewards/judge/judge-server.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { cliFolder, openHub, recordedRun, temporary, walkedPage } from "./walk-world.ts";
import { toLocalHub, Walker } from "./walker.ts";

// A person walks through every part of the page: the real worker on SwiftShader, a local hub with a random model of 0.5B's size for
// forecasts and the download, the embedded model for everything that trains. Each view is looked at in both widths and colour
// schemes. With QWENCH_SCREENSHOTS=demo/screenshots, the pictures are kept. About fifteen minutes on two cores.

const MINUTES = 60_000;
const KEY = "sk-a-secret-of-the-judge";
const PROBLEMS = 6;
const web = useBrowser({ keepPages: true });
const folder = temporary();
let site: Site;
let hub: FakeHub;
let judge: JudgeServer;
let walker: Walker;

const draft = (change: Partial<Draft>): Draft => ({
  name: "A walk",
  model: { kind: "embedded" },
  data: { kind: "embedded" },
  method: "both",
  recipes: { sft: {}, grpo: {}, dpo: {} },
  evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: PROBLEMS },
  ...change,
});
const SFT = { per_device_train_batch_size: 4, max_steps: 12, logging_steps: 1, save_steps: 4, learning_rate: 2e-3 };
const GRPO = {
  ...{ per_device_train_batch_size: 8, num_generations: 8, max_completion_length: 48, max_steps: 4, save_steps: 2 },
  ...{ logging_steps: 1, learning_rate: 3e-4, lora_dropout: 0 },
  reward_funcs: ["correctness_reward_func", "xmlcount_reward_func"],
};
const HUB_MODEL = { kind: "hub", id: "Qwen/Qwen2.5-0.5B-Instruct" } as const;
const GSM8K = { kind: "hub", id: "openai/gsm8k", config: "main" } as const;

beforeAll(async () => {
  [site, hub, judge] = [
    await serve(await walkedPage(), { policy: null }),
    await openHub(folder),
    await serveJudge(says("Good. Score: 8"), { cors: true }),
  ];
  const page = await web.open(`${site.url}?hub=${encodeURIComponent(hub.url)}`);
  await toLocalHub(page, hub);
  const cdp = await page.createCDPSession();
  await cdp.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
  walker = new Walker(page);
}, 10 * MINUTES);
afterAll(async () => {
  await site?.close();
  await hub?.stop();
  await judge?.close();
  rmSync(folder, { recursive: true, force: true });
});

const plan = (state: string) => walker.until(`.plan[data-state="${state}"]`);
const open = (change: Partial<Draft>, methods: ("sft" | "grpo")[] = ["sft", "grpo"]) =>
  walker.go(linkOf(draft(change), methods)!, /Teach a small/);
/** A file that the browser has put into the folder. */
async function downloaded(ending: string): Promise<string> {
  const found = () => readdirSync(folder).find((name) => name.endsWith(ending));
  await expect.poll(found, { timeout: MINUTES }).toBeDefined();
  return join(folder, found()!);
}
const upload = async (selector: string, path: string) =>
  ((await walker.page.waitForSelector(selector)) as ElementHandle<HTMLInputElement>).uploadFile(path);
const train = async () => {
  await walker.page.waitForFunction(
    () => document.querySelector<HTMLButtonElement>(".summary button[type=submit]")?.disabled === false,
    { timeout: 5 * MINUTES },
  );
  await walker.pick(".summary button[type=submit]");
  await walker.until(".run-header");
};
/** The first held-out answers of a run's first or last evaluation. */
const answers = (which: "first" | "last") =>
  walker.page.$$eval(`.problem .answer:${which}-child .text`, (all) => all.slice(0, 4).map((one) => one.textContent));
/** All that the browser keeps for the site outside of files. */
async function kept(): Promise<string> {
  const all: unknown[] = [localStorage, sessionStorage, document.cookie];
  const done = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  for (const { name } of await indexedDB.databases()) {
    const database = await done(indexedDB.open(name!));
    for (const store of database.objectStoreNames)
      all.push(await done(database.transaction(store).objectStore(store).getAll()));
    database.close();
  }
  const text = JSON.stringify(all);
  if (!text.includes("Judged")) throw new Error("the run's record was not read");
  return text;
}
const more = () => walker.pick(".run-more:not([open]) summary");
const address = () => walker.page.evaluate(() => location.hash);

test("the start: what the demo costs here, within a few keys of Train", { timeout: 10 * MINUTES }, async () => {
  await plan("ready");
  await walker.shown(/Train Qwen2\.5-0\.5B on GSM8K/);
  await walker.shown(/GPU memory.*Time.*about .*To downloadnothing/);
  await walker.look("start");

  // a published recipe fills the choices, and starts nothing
  await walker.page.select(".mission select", "published-gsm8k-grpo-0.5b");
  await walker.shown(/The choices below are those of the published recipe/);
  await walker.press("Reset");
  await walker.shown(/All choices are as at first\./);

  const { keyboard } = walker.page;
  const named = () => walker.page.evaluate(() => document.activeElement!.textContent!.trim());
  await walker.page.reload();
  await walker.until(".summary [type=submit]:not([disabled])");
  let pressed = 0;
  for (const name of ["Skip to the content", "Skip to Forecast and Train", "Train"]) {
    do {
      await keyboard.press("Tab");
      expect(++pressed, `not at ${name}`).toBeLessThanOrEqual(15);
    } while ((await named()) !== name);
    if (name !== "Train") await keyboard.press("Enter");
  }
});

test("data of the hub: by search, with its split, as the model sees them", { timeout: 10 * MINUTES }, async () => {
  await walker.press("From Hugging Face", "radio");
  await walker.type("Search, or an address", "gsm");
  await walker.shown(/2 found; choose one\..*openai\/gsm8k 1,000 downloads/);
  await walker.pick(".hub-results button");
  await walker.until(".hub-picker .columns select"); // its splits are asked for
  await walker.page.select(".hub-picker .columns select", "test");
  await walker.page.select(".hub-picker .columns select", "train");
  await walker.shown(/question and answer/);
  await walker.pick(".part .detail details.more summary");
  await walker.shown(/tokens in the middle.*Rows by tokens/);
  await walker.look("data", ".hub-picker");
  expect(hub.paths("hub")).toContain("/api/datasets");
});

test("a model of the hub: a forecast that is being worked out, ready, and too large with ways out; its download", {
  timeout: 20 * MINUTES,
}, async () => {
  const held: (() => void)[] = [];
  hub.trick = ({ path }, _, send) => (path.includes("/api/models/") ? held.push(send) > 0 : false);
  await open({
    name: "Word problems by 0.5B",
    model: HUB_MODEL,
    data: GSM8K,
    recipes: { sft: SFT, grpo: GRPO, dpo: {} },
  });
  await walker.until('.plan[data-state="working"] .waiting');
  await walker.look("forecast-working", ".own", ".summary");
  hub.trick = undefined;
  for (const send of held) send();
  await plan("ready");
  await walker.shown(/To download98\d MB/);
  await walker.look("forecast", ".own", ".summary");

  const large = { ...GRPO, per_device_train_batch_size: 64, num_generations: 16, max_completion_length: 4096 };
  await open({ model: HUB_MODEL, data: GSM8K, method: "grpo", recipes: { sft: {}, grpo: large, dpo: {} } }, ["grpo"]);
  await walker.until(".ways button");
  await walker.look("forecast-large", ".own", ".summary");
  await walker.pick(".ways button");
  await walker.page.waitForFunction(
    () => !document.querySelector(".ways") && document.querySelector(".plan")?.getAttribute("data-state") === "ready",
    { timeout: 5 * MINUTES },
  );

  await walker.pick(".downloader button");
  await walker.shown(/All files are here\./);
  expect(hub.paths("cdn").length).toBeGreaterThan(0);
  await walker.go("#/storage", /Storage/);
  await walker.shown(/Qwen\/Qwen2\.5-0\.5B-Instruct.*9\d\d MB|Qwen\/Qwen2\.5-0\.5B-Instruct.*1(\.\d)? GB/);
  await walker.look("storage");
});

test("an error has a title, a reason and a button", { timeout: 5 * MINUTES }, async () => {
  await open({ model: { kind: "hub", id: "owner/gated" } });
  await walker.shown(/This needs an account on the hub/);
  await walker.by("Sign in …", "button");
  await walker.look("error", ".own", ".summary");
});

test("a reward of one's own, tried on 8 rows; every choice survives a reload", { timeout: 10 * MINUTES }, async () => {
  await open({ recipes: { sft: SFT, grpo: GRPO, dpo: {} } });
  await plan("ready"); // of this link: until then, the form may still be that of the page before
  await walker.press("Write your own …");
  await walker.press("Try on 8 rows");
  await walker.shown(/8 completions scored in \d+ ms/);
  await walker.look("rewards");
  await walker.press("Save");
  await walker.until(".reward-chip:nth-child(3)");
  const chips = () => walker.page.$$eval(".reward-chip b", (all) => all.map(({ textContent }) => textContent));
  const before = await chips();
  await walker.page.waitForFunction((name) => localStorage.getItem("qwench.draft")?.includes(name), {}, ".mjs");
  await walker.page.reload();
  await walker.until(".reward-chip:nth-child(3)");
  expect(await chips()).toEqual(before);
});

let first = "";
test("a run: kernels, answers as they come, charts, and its end", { timeout: 30 * MINUTES }, async () => {
  await plan("ready");
  const passed = await walker.watch(
    /Compiling kernels: \d+ of \d+/,
    new RegExp(`\\d of ${PROBLEMS} answered`),
    /About .* left/,
  );
  await train();
  first = await address();
  await passed();
  await walker.settles("finished");
  await walker.until(".phase-charts .line");
  await walker.until(".completion");
  await walker.shown(/Finished\. The model solved/);
});

test("chat with both, and the downloads", { timeout: 20 * MINUTES }, async () => {
  await walker.go(`${first}/result`, /A walk/);
  await walker.type("Your message", "Ann has 12 apples and buys 5 more. How many apples does Ann have now?\n");
  await walker.until('.ask .primary[aria-disabled="false"]');
  expect(await walker.page.$$eval(".turn .model .text", (all) => all.filter((one) => one.textContent).length)).toBe(2);
  await walker.shown(/tokens\/s/);
  await walker.look("chat", ".chat");
  await walker.press("Download adapter");
  await walker.shown(/is in your downloads/);
  await walker.look("downloads", ".downloads");
  const files = Object.keys(unzipSync(readFileSync(await downloaded("-adapter.zip"))));
  expect(files).toEqual(expect.arrayContaining(["adapter_model.safetensors", "README.md"]));
});

test("a checkpoint evaluated now; the run exported, imported, and continued from with a judge", {
  timeout: 30 * MINUTES,
}, async () => {
  await more();
  await walker.press("Evaluate now");
  await walker.press("SFT, step 8");
  await walker.shown(/Evaluated\./);
  await walker.shown(/At step 8 of SFT.*After SFT.*After GRPO/);
  const learnt = await answers("last");
  await walker.press("Export this run");
  const packed = await downloaded("-run.zip");
  expect(Object.keys(unzipSync(readFileSync(packed)))).toContain("phase-2/adapter_model.safetensors");
  await walker.go("#/runs", /Runs/);
  await upload(".openers input[accept='.zip']", packed);
  await walker.until(".run-header");
  expect(await address()).not.toBe(first);
  await walker.settles("finished");
  await walker.shown(/solved/);

  // its adapter, in a GRPO run whose completions another model grades
  await more();
  await walker.press("Continue from this adapter");
  await walker.shown(/Continues from the adapter of “A walk”/);
  await walker.press("GRPO", "radio");
  const grpo = await walker.by("Recipe of GRPO", "region");
  await walker.type("Max steps", "2", "textbox", grpo);
  await walker.page.select("select[aria-label='Add a reward']", "judge");
  await walker.type("Endpoint", judge.url);
  await walker.type("Model that grades", "a-judge");
  await walker.type("Key", KEY);
  await walker.type("Name of the run", "Judged");
  await train();
  await walker.settles("finished");
  await walker.shown(/judge/);
  expect(judge.asked.length).toBeGreaterThanOrEqual(8);
  expect(new Set(judge.asked.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${KEY}`]));
  expect(judge.asked[0].body.model).toBe("a-judge");
  expect(await walker.page.evaluate(kept)).not.toContain(KEY);
  // it began where the other run had ended
  await walker.go(`${await address()}/result`, /Judged/);
  await walker.until(".problem");
  expect(await answers("first")).toEqual(learnt);
});

test("trained again, stopped and evaluated", { timeout: 20 * MINUTES }, async () => {
  await walker.go(first, /A walk/);
  await more();
  await walker.press("Train again");
  await walker.page.waitForFunction((hash) => location.hash !== hash && location.hash.startsWith("#/runs/"), {}, first);
  await walker.shown(/SFTstep [1-9]\d* of 12/);
  await more();
  await walker.press("Stop and evaluate");
  await walker.pick("dialog .danger");
  await walker.settles("stopped");
  await walker.shown(/Evaluated\./);
  const solved = await walker.page.$eval(".stages", ({ textContent }) => textContent);
  expect(solved).toMatch(/step \d+ of 12/);
});

test("runs: an imported one with its charts and result, compared; a folder of the command line, only read", {
  timeout: 15 * MINUTES,
}, async () => {
  await walker.go("#/runs", /Runs/);
  await upload(".openers input[accept='.zip']", recordedRun(folder));
  await walker.settles("finished");
  await walker.until(".phase-charts .line");
  await walker.page.$eval(".curves:not(.earlier) input[type=range]", (input) => {
    (input as HTMLInputElement).value = "0.6";
    input.dispatchEvent(new Event("input"));
  });
  await walker.until(".phase-charts .raw");
  await walker.look("run");
  const recorded = await address();
  await walker.go(`${recorded}/result`, /Recorded/);
  await walker.page.select(".comparison select", "learnt");
  await walker.look("result");

  const zip = unzipSync(readFileSync(await downloaded("-adapter.zip")));
  const lines = strFromU8(zip["metrics.jsonl"]).split("\n");
  const cli = cliFolder(folder, "beta: 0.1\n", lines.filter((line) => !line.includes('"phase":1')).join("\n"));
  await walker.go("#/runs", /Runs/);
  await upload(".openers input[webkitdirectory]", cli);
  await walker.settles("finished");
  await walker.until(".phase-charts .line");
  await walker.go("#/runs", /Runs/);
  await walker.look("runs");
  for (const name of ["Recorded", "Judged", "A walk"]) await walker.press(`Compare ${name}`, "checkbox");
  await walker.until(".compare .line");
  await walker.shown(/Differences of the recipes/);
  await walker.look("compare", ".compare");
});

test("every view was looked at", () => {
  expect([...walker.seen].sort()).toEqual(
    [
      ...["start", "data", "forecast-working", "forecast", "forecast-large", "storage", "error", "rewards"],
      ...["chat", "downloads", "run", "result", "runs", "compare"],
    ].sort(),
  );
});
