import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { fakePage } from "./page-site.ts";

// The page's messages in each state, with a trainer that needs no GPU.

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  // under a path of its own, with no policy but the page's own tag
  site = await serve(await fakePage(), { base: "/some/where/", policy: null });
});
afterAll(() => site.close());

/** A fresh page: what other tests left is gone. */
async function open(query = "", hash = "#/"): Promise<Page> {
  // before the page begins: it would write its choices again when it is left
  const page = await web.open("about:blank");
  const session = await page.createCDPSession();
  await session.send("Storage.clearDataForOrigin", { origin: new URL(site.url).origin, storageTypes: "all" });
  await page.goto(`${site.url}?step=40&seed${query}${hash}`);
  await page.waitForSelector("main h1");
  return page;
}

const shown = (page: Page, text: string | RegExp) =>
  page.waitForFunction(
    (source, flags) => new RegExp(source, flags).test(document.querySelector("#page")!.textContent!),
    {},
    typeof text === "string" ? text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") : text.source,
    "s",
  );
const press = async (page: Page, name: string) =>
  (await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`))!.click();
const train = (page: Page) => press(page, "Train the embedded model");
const textOf = (page: Page, selector: string) => page.$eval(selector, (element) => element.textContent);

describe("before a run", () => {
  test("no WebGPU: says so and what to do, and trains nothing", async () => {
    const page = await open("&fake=no-webgpu");
    await shown(page, "This browser has no WebGPU. Open chrome://flags");
    for (const name of ["Train the embedded model", "Train"]) {
      const button = await page.waitForSelector(`::-p-aria([name="${name}"][role="button"])`);
      expect(await button!.evaluate((element) => (element as HTMLButtonElement).disabled)).toBe(true);
    }
  });

  test("a software adapter: slow, and it can start", async () => {
    const page = await open("&fake=software");
    await shown(page, "There is no GPU here, so training runs on the CPU: it works, but slowly.");
    await expect.poll(() => textOf(page, ".device")).toBe("SwiftShader (software)");
    await train(page);
    await shown(page, /step [1-9]\d* of 30/);
  });

  test("not enough memory: advice, and Train stays disabled", async () => {
    const page = await open("&fake=memory");
    await shown(page, /SFT: .* of GPU memory/);
    await (await page.waitForSelector('::-p-aria([name="From the hub"][role="radio"])'))!.click();
    await shown(page, "It would fit with max_completion_length 128");
    const button = await page.waitForSelector('::-p-aria([name="Train"][role="button"])');
    expect(await button!.evaluate((element) => (element as HTMLButtonElement).disabled)).toBe(true);
  });

  test("offline: a message, which disappears afterwards", async () => {
    const page = await open();
    await page.setOfflineMode(true);
    await shown(page, "You are offline.");
    await page.setOfflineMode(false);
    await page.waitForFunction(() => !document.body.textContent!.includes("You are offline."));
  });

  test("a hub model: download size, the list's first, any id, and downloading without training", async () => {
    const page = await open("&step=5");
    await (await page.waitForSelector('::-p-aria([name="From the hub"][role="radio"])'))!.click();
    const list = await page.waitForSelector('::-p-aria([name="Model"][role="combobox"])');
    expect(await list!.evaluate((element) => (element as HTMLSelectElement).value)).toBe("Qwen/Qwen2.5-0.5B-Instruct");
    await shown(page, /To download999 MB/);
    await press(page, "Only download 999 MB");
    await shown(page, "All files are here.");
    await page.waitForFunction(() => !document.querySelector(".downloader button"));
    await list!.select("other");
    const id = await page.waitForSelector('::-p-aria([name="Model id"][role="textbox"])');
    await id!.type("me/my-model");
    await page.keyboard.press("Tab");
    await page.waitForFunction(() =>
      [...document.querySelectorAll("input")].some(({ placeholder }) => placeholder === "my-model on word problems"),
    );
    await shown(page, /To download999 MB/);
    await page.waitForFunction(() => !document.querySelector("#page")!.textContent!.includes("All files are here."));
    await page.waitForSelector('::-p-aria([name="Only download 999 MB"][role="button"])');
  });

  test.each([
    ["is cancelled", "&step=400", /Cancelled\. The partial download is kept\..*Only download 999 MB/],
    ["fails", "&step=5&fake=network", /the connection was cut at 61 %.*Only download 999 MB/],
  ])("a download that %s: the message stays, and the button returns", async (_, query, message) => {
    const page = await open(query);
    await (await page.waitForSelector('::-p-aria([name="From the hub"][role="radio"])'))!.click();
    await press(page, "Only download 999 MB");
    if (message.source.startsWith("Cancelled"))
      await (await page.waitForSelector('.downloader ::-p-aria([name="Cancel"][role="button"])'))!.click();
    await shown(page, message);
    await page.waitForSelector('.plan[data-state="ready"][aria-busy="false"]');
    await shown(page, message);
  });

  test("a file: preview as text, columns to choose, and a plan once they are chosen", async () => {
    const page = await open();
    await (await page.waitForSelector('::-p-aria([name="Your file"][role="radio"])'))!.click();
    const input = await page.waitForSelector('input[type="file"]:not([webkitdirectory])[accept*=".csv"]');
    await page.evaluate((element) => {
      const text = "frage;zahl\n<img src=x onerror=alert(1)>;4\nTwo and three?;5\n";
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "sums.csv"));
      (element as HTMLInputElement).files = transfer.files;
      element!.dispatchEvent(new Event("change"));
    }, input);
    await shown(page, "Rows of sums.csv have the columns frage, zahl");
    await shown(page, "<img src=x onerror=alert(1)>");
    await shown(page, "Choose the data to train on.");
    await (await page.waitForSelector('::-p-aria([name="Rows are"][role="combobox"])'))!.select("question and answer");
    const question = await page.waitForSelector('::-p-aria([name="Question"][role="combobox"])');
    expect(await question!.evaluate((element) => (element as HTMLSelectElement).value)).toBe("frage");
    await shown(page, "zahl as answer");
    await shown(page, /of GPU memory/);
  });

  test("a wrong value: a message beside the field, and Train stays disabled until it is right", async () => {
    const page = await open();
    const rank = await page.waitForSelector('::-p-aria([name="LoRA r"][role="textbox"])');
    await rank!.click({ count: 3 });
    await rank!.type("0");
    await shown(page, 'lora_r must be an integer of at least 1, got "0"');
    expect(await rank!.evaluate((element) => element.getAttribute("aria-invalid"))).toBe("true");
    await shown(page, "The SFT recipe has an error; see the message beside the field.");
    await page.keyboard.type("4");
    await page.keyboard.press("Home");
    await page.keyboard.press("Delete");
    await shown(page, /SFT: .* of GPU memory/);
    expect(await rank!.evaluate((element) => element.getAttribute("aria-invalid"))).toBeNull();
  });

  test("YAML fills the form, and the form gives YAML", async () => {
    const page = await open();
    const [summary] = await page.$$("details.more summary ::-p-text(As YAML)");
    await summary.click();
    const text = await page.waitForSelector('::-p-aria([name="SFT recipe"][role="textbox"])');
    await page.waitForFunction((element) => (element as HTMLTextAreaElement).value.includes("lora_r: 8"), {}, text);
    await text!.evaluate(
      (element) => ((element as HTMLTextAreaElement).value = "lora_r: 12\nmax_steps: 7\nlora_rank: 3\n"),
    );
    await press(page, "Use this text");
    await shown(page, 'Unknown recipe key "lora_rank": did you mean lora_r?');
    await text!.evaluate((element) => ((element as HTMLTextAreaElement).value = "lora_r: 12\nmax_steps: 7\n"));
    await press(page, "Use this text");
    await shown(page, "The form now shows this recipe.");
    const rank = await page.waitForSelector('::-p-aria([name="LoRA r"][role="textbox"])');
    expect(await rank!.evaluate((element) => (element as HTMLInputElement).value)).toBe("12");
    await shown(page, "7 steps over");
  });
});

describe("during a run", () => {
  test("shows curves and completions; pause keeps the position, continue resumes, stop ends", async () => {
    const page = await open("&linger=1:5");
    await train(page);
    await shown(page, /GRPO, phase 2.*Reward by function.*Completions/);
    const curve = () => page.$eval(".plot .line", (line) => line.getAttribute("d")!.length);
    const before = await curve();
    await page.waitForFunction(() => /^\d+ % · Word problems · Qwench$/.test(document.title));
    await page.waitForFunction(
      (length) => document.querySelector(".plot .line")!.getAttribute("d")!.length > length,
      {},
      before,
    );
    await press(page, "Pause");
    await page.waitForFunction(() => document.querySelector(".status")!.textContent === "paused");
    await page.waitForFunction(() => document.title === "Word problems · Qwench");
    const at = await textOf(page, ".stages li:last-child .about");
    await press(page, "Go on");
    await page.waitForFunction(
      (old) => document.querySelector(".stages li:last-child .about")!.textContent !== old,
      {},
      at,
    );
    await press(page, "Stop");
    await (await page.waitForSelector('dialog ::-p-aria([name="Stop"][role="button"])'))!.click();
    await shown(page, /Stopped\. The model solved 10 % of 40 held-out problems before, and 20 % after SFT/);
    await expect.poll(() => textOf(page, ".status")).toBe("stopped");
  });

  test("a reloaded page continues from the last checkpoint", async () => {
    const page = await open("&linger=0:10");
    await train(page);
    await shown(page, /step ([6-9]|1\d) of 30/);
    await page.reload();
    await shown(page, "the run continues from the last checkpoint");
    await shown(page, /step 1[1-9] of 30/);
    await expect.poll(() => textOf(page, ".status")).toBe("training");
    const steps = await page.evaluate(() => {
      const [run] = JSON.parse(localStorage.getItem("fake.runs")!).slice(-1);
      return run.logs[0].map(({ step }: { step: number }) => step);
    });
    expect(steps).toEqual(steps.map((_: number, i: number) => i + 1));
  });

  test("the first page offers a run whose tab was closed", async () => {
    const page = await open("&linger=0:10");
    await train(page);
    await shown(page, /step ([6-9]|1\d) of 30/);
    await page.close();
    const next = await web.open(`${site.url}?step=40#/`);
    await shown(next, /“Word problems” waits at SFT step \d+ of 30\./);
    await press(next, "Go on");
    await shown(next, /step (1\d|2\d|30) of 30/);
  });

  test("the GPU is lost: a message, and the run continues from the last checkpoint", async () => {
    const page = await open("&fake=lost&linger=1:5");
    await train(page);
    await shown(page, "The GPU was lost: the browser or its driver started it again. Going on from the beginning.");
    await shown(page, /GRPO.*step (5|6|7|8) of 60/);
    await expect.poll(() => textOf(page, ".status")).toBe("training");
  });

  test("storage is full: a message, a way to free some, and the run can continue", async () => {
    const page = await open("&fake=quota");
    await train(page);
    await shown(page, "the browser's storage for this site is full. 48.0 MB are needed");
    await shown(page, "Existing files are intact");
    await page.waitForSelector('.notice ::-p-aria([name="Free some space"][role="link"])');
    await page.waitForSelector('::-p-aria([name="Go on"][role="button"])');
  });

  test("on another page, a message with a link appears when a run ends", async () => {
    const page = await open("&fake=quota&linger=0:3");
    await train(page);
    await shown(page, /step [1-9]\d* of 30/);
    await (await page.waitForSelector('::-p-aria([name="Storage"][role="link"])'))!.click();
    await page.evaluate(() => Object.assign(globalThis, { hurry: true }));
    await shown(page, /“Word problems” stopped: Cannot write optimizer/);
    await (await page.waitForSelector('::-p-aria([name="Look at it"][role="link"])'))!.click();
    await page.waitForFunction(() => document.querySelector("h1")!.textContent === "Word problems");
    await expect.poll(() => page.$$(".notices .notice")).toHaveLength(0);
  });

  test("the network fails: a message, and received bytes are kept", async () => {
    const page = await open("&fake=network");
    await train(page);
    await shown(page, /the connection was cut at 61 %.*Try again: the partial download is kept./);
  });

  test("a second tab: a message, and this tab's run does not count as failed", async () => {
    const page = await open("&fake=busy");
    await train(page);
    await shown(page, "Another tab of this site is training");
    await expect.poll(() => textOf(page, ".status")).not.toBe("failed");
  });

  test("a hidden tab: on return, a message with its duration and the progress", async () => {
    const page = await open("&linger=0:3");
    await train(page);
    await shown(page, /step [1-9]\d* of 30/);
    await page.evaluate(async () => {
      const now = Date.now;
      const turn = (state: string) => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      };
      turn("hidden");
      await new Promise((done) => setTimeout(done, 100));
      Date.now = () => now() + 80_000;
      turn("visible");
    });
    await shown(
      page,
      /This tab was hidden for 1 min 2\d s; \d+ steps? (was|were) made meanwhile. Browsers slow hidden tabs down./,
    );
    await press(page, "Dismiss");
    await page.waitForFunction(() => !document.body.textContent!.includes("This tab was hidden"));
  });
});

describe("after a run", () => {
  test("before and after side by side; a model answer that looks like HTML is text", async () => {
    const page = await open("", "#/runs/seed-1/result");
    await shown(page, /Before10 %.*After SFT20 %.*After GRPO65 %/);
    await shown(page, `<img src=x onerror="document.title='owned'">`);
    expect(await page.$$("main img, main script")).toHaveLength(0);
    expect(await page.title()).not.toBe("owned");
    const list = await page.waitForSelector('::-p-aria([name="Show"][role="combobox"])');
    await list!.select("learnt");
    const ticks = await page.$$eval(".problem", (all) =>
      all.map((one) => [...one.querySelectorAll(".answer")].map((a) => a.classList.contains("correct"))),
    );
    expect(ticks.length).toBeGreaterThan(0);
    for (const [before, , now] of ticks) expect([before, now]).toEqual([false, true]);
  });

  test("files to download; a failure gives a message", async () => {
    const page = await open("", "#/runs/seed-1/result");
    await press(page, "Download adapter");
    await shown(page, "Word problems-adapter.zip, 7 B, is in your downloads.");
    const broken = await open("&fake=broken-export", "#/runs/seed-1/result");
    await press(broken, "Download report");
    await shown(broken, "There is no checkpoint of this run yet.");
  });

  test("a run without adapters, as an archive can bring, has its report and recipes, and a chat with its base alone", async () => {
    const page = await open("&fake=no-adapters", "#/runs/seed-1/result");
    await shown(page, "There is no adapter of this run here");
    const offered = () =>
      page.$$eval(".downloads button", (all) =>
        all.filter((one) => one.checkVisibility()).map((one) => one.textContent),
      );
    await expect.poll(offered).toEqual(["Download report", "Download recipe"]);
    await expect.poll(() => page.$$(".chat-panes select")).toHaveLength(0); // one speaker: nothing to choose
    await press(page, "Download report");
    await shown(page, "is in your downloads.");
  });

  test("history: compare, rename, delete", async () => {
    const page = await open("", "#/runs");
    for (const name of ["Compare Word problems", "Compare Word problems, gentle"]) {
      await (await page.waitForSelector(`::-p-aria([name="${name}"][role="checkbox"])`))!.click();
    }
    await page.waitForFunction(() => document.querySelectorAll(".compare .line").length === 2);
    await press(page, "Rename Word problems");
    await page.keyboard.type("First");
    await page.keyboard.press("Enter");
    await press(page, "Delete First");
    await (await page.waitForSelector('dialog ::-p-aria([name="Delete"][role="button"])'))!.click();
    await page.waitForFunction(() => !document.querySelector(".run-list")!.textContent!.includes("First"));
    await expect.poll(() => page.$$(".run-list li")).toHaveLength(2);
  });

  test("storage: what is there, and each thing can be deleted", async () => {
    const page = await open("", "#/storage");
    await shown(page, /1\.0 GB used of 20 GB/);
    await press(page, "Delete Qwen/Qwen2.5-0.5B-Instruct");
    await (await page.waitForSelector('dialog ::-p-aria([name="Delete"][role="button"])'))!.click();
    await page.waitForFunction(() => !document.querySelector("main")!.textContent!.includes("Qwen2.5"));
    await press(page, "Ask the browser to keep the data");
    await shown(page, "The browser has promised to keep this data until you delete it.");
  });
});
