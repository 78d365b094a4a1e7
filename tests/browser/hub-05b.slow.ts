import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page, WebWorker } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { copyTokenizer, SPECS, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { FakeHub } from "../io/hub/fake-hub.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { makeTrainer, trainerSite } from "./trainer.ts";

// A model of the size that people will use: half a billion random parameters, nearly 1 GB in bf16.

const ID = "qwench/random-0.5b";
const HEAP = 300e6;
const web = useBrowser({ keepPages: true });
const hub = new FakeHub();
let folder: string;
let site: Site;
let weights: Uint8Array;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "qwench-05b-"));
  await copyTokenizer(nodeFolder(folder));
  await writeRandomCheckpoint(nodeFolder(folder), SPECS["qwen2.5-0.5b"], 1);
  const names = await nodeFolder(folder).list();
  const files = Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
  weights = files["model.safetensors"];
  hub.repos.push({ kind: "model", id: ID, refs: { main: "d".repeat(40) }, files });
  await hub.start();
  site = await serve(await trainerSite());
}, 600_000);
afterAll(async () => {
  await site.close();
  await hub.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The most that a worker's heap held, array buffers included, while work went on. */
async function heapDuring<T>(worker: WebWorker, work: Promise<T>): Promise<{ result: T; peak: number }> {
  let peak = 0;
  let going = true;
  const sampling = (async () => {
    while (going) {
      const usage = (await worker.client.send("Runtime.getHeapUsage")) as unknown as Record<string, number>;
      peak = Math.max(peak, usage.usedSize + (usage.backingStorageSize ?? 0));
      await new Promise((done) => setTimeout(done, 100));
    }
  })();
  const result = await work.finally(() => (going = false));
  await sampling;
  return { result, peak };
}

const download = (page: Page) =>
  page.evaluate(async (id) => {
    const done: number[] = [];
    let error: string | null = null;
    try {
      for await (const event of trainer.download({ kind: "hub", id })) {
        if (event.type === "progress") done.push(event.done / event.total!);
      }
    } catch (thrown) {
      error = (thrown as Error).message;
    }
    return { done, error };
  }, ID);

const answer = (page: Page) =>
  page.evaluate(async (id) => {
    const messages = [{ role: "user" as const, content: "Hi" }];
    const seen: string[] = [];
    const request = {
      run: null,
      model: { kind: "hub" as const, id },
      adapter: false,
      messages,
      max_new_tokens: 2,
      temperature: 0,
    };
    for await (const event of trainer.chat(request)) seen.push(event.type);
    return seen;
  }, ID);

test("0.5B streams to disk, survives a cut at 60 %, loads in 300 MB of heap, twice with one download", async () => {
  const page = await web.open(site.url);
  await makeTrainer(page, { hubUrl: hub.url });
  await page.evaluate(() => trainer.recipe.presets());
  const cut = Math.floor(weights.length * 0.6);
  let cutOnce = false;
  hub.trick = ({ server, path }, res) => {
    if (server !== "cdn" || !path.includes("model.safetensors") || cutOnce) return false;
    cutOnce = true;
    res.writeHead(200, { "Content-Length": weights.length, ETag: hub.etagOf(weights) });
    res.write(weights.subarray(0, cut), () => setTimeout(() => res.destroy(), 2000));
    return true;
  };
  const first = await heapDuring(page.workers()[0], download(page));
  expect(first.result.error).toBeNull();
  expect(first.result.done.length).toBeGreaterThan(20);
  expect(first.result.done).toEqual([...first.result.done].sort((a, b) => a - b));
  expect(first.result.done.at(-1)).toBeGreaterThan(0.95);
  const ranges = hub.asked
    .filter(({ server, path }) => server === "cdn" && path.includes("model.safetensors"))
    .map(({ headers }) => Number(/^bytes=(\d+)-$/.exec(headers.range ?? "bytes=0-")![1]));
  expect(ranges).toHaveLength(2);
  expect(ranges[1] / weights.length).toBeGreaterThan(0.5);

  hub.asked.length = 0;
  const loaded = await heapDuring(page.workers()[0], answer(page));
  expect(loaded.result).toContain("text");
  expect(loaded.result.at(-1)).toBe("end");
  expect(hub.asked).toEqual([]);
  console.log(
    `peak of heap and array buffers: ${(first.peak / 1e6).toFixed(0)} MB downloading, ${(loaded.peak / 1e6).toFixed(0)} MB loading`,
  );
  expect(first.peak).toBeLessThan(HEAP);
  expect(loaded.peak).toBeLessThan(HEAP);
}, 1_800_000);
