import type { Page } from "puppeteer-core";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FakeHub, type FakeRepo, TOKEN } from "../io/hub/fake-hub.ts";
import { sums, tinyChatModel } from "../train/grpo/fixtures.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { JOB, makeTrainer, trainerSite } from "./trainer.ts";

const web = useBrowser();
const COMMIT = "c".repeat(40);
let hub: FakeHub;
let model: FakeRepo;
let weights: Uint8Array;
let site: Site;
let page: Page;
let built: Site["files"];

beforeAll(async () => {
  built = await trainerSite();
});
beforeEach(async () => {
  hub = await new FakeHub().start();
  const folder = await tinyChatModel();
  const files: Record<string, Uint8Array> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  weights = files["model.safetensors"];
  const rows = sums(12).map(({ row }) => JSON.stringify(row));
  model = { kind: "model", id: "owner/name", refs: { main: COMMIT }, files };
  const data = { "train.jsonl": new TextEncoder().encode(`${rows.join("\n")}\n`) };
  hub.repos.push(model, { kind: "dataset", id: "owner/sums", refs: { main: COMMIT }, files: data });
  site = await serve(built); // an origin of its own: nothing is stored yet
  page = await web.open(site.url);
  await makeTrainer(page, { hubUrl: hub.url });
});
afterEach(async () => {
  // a CDN need not allow pages of other sites to send it
  expect(hub.asked.filter(({ headers }) => headers["if-range"] !== undefined)).toEqual([]);
  await site.close();
  await hub.stop();
});

/** Downloads, and tells what was reported of bytes or what went wrong. */
const download = (source: object = { kind: "hub", id: "owner/name" }) =>
  page.evaluate(async (source) => {
    const seen: { what: string; done: number; total: number | null }[] = [];
    try {
      for await (const event of trainer.download(source as never)) if (event.type === "progress") seen.push(event);
      return { seen, error: null };
    } catch (error) {
      const { name, message } = error as Error;
      return { seen, error: `${name}: ${message}` };
    }
  }, source);

const hubJob = {
  ...JOB,
  model: { kind: "hub", id: "owner/name" },
  phases: [
    { method: "grpo", data: { kind: "hub", id: "owner/sums" }, recipe: { ...JOB.phases[1].recipe, max_steps: 1 } },
  ],
  evaluate: null,
};
const plan = () => page.evaluate((job) => trainer.plan(job as never), hubJob);

describe("models and data of the hub", () => {
  test("are forecast before the download, streamed to disk, and then read without a request", async () => {
    const before = await plan();
    expect(before).toMatchObject({ fits: true, problem: null, download: weights.length });

    expect((await download()).error).toBeNull();
    expect(hub.paths("cdn").length).toBeGreaterThan(0);
    await page.reload();
    await makeTrainer(page, { hubUrl: hub.url });
    hub.asked.length = 0;
    const after = await plan();
    expect(after).toMatchObject({ fits: true, problem: null, download: 0 });
    expect(after.phases[0].memory).toEqual(before.phases[0].memory);
    expect(hub.asked).toEqual([]);

    const usage = await page.evaluate(() => trainer.storage.usage());
    const items = usage.items.map(({ id, kind, name }) => ({ id, kind, name }));
    expect(items).toEqual([
      { id: "hub/datasets--owner--sums", kind: "data", name: "owner/sums" },
      { id: "hub/models--owner--name", kind: "model", name: "owner/name" },
    ]);
    expect(usage.items[1].bytes).toBeGreaterThan(weights.length);
    const stored = await page.evaluate(
      (job) => trainer.plan({ ...job, model: { kind: "stored", id: "hub/models--owner--name" } } as never),
      hubJob,
    );
    expect(stored).toMatchObject({ problem: null, download: 0 });
    await page.evaluate(() => trainer.storage.remove("hub/models--owner--name"));
    expect(await plan()).toMatchObject({ download: weights.length });
  });

  test("resume after an interruption at 60 %, also in a new worker", async () => {
    const cut = Math.floor(weights.length * 0.6);
    let sent = 0;
    hub.trick = ({ server, path, headers }, res) => {
      if (server !== "cdn" || !path.includes("model.safetensors")) return false;
      const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
      // the link goes, and stays away for as many tries as there are
      if (sent >= cut) {
        res.destroy();
        return true;
      }
      const bytes = weights.subarray(from, cut);
      res.writeHead(200, { "Content-Length": weights.length, ETag: hub.etagOf(weights) });
      res.write(bytes);
      setTimeout(() => res.destroy(), 2000); // a browser drops what has arrived and was not read yet
      sent += bytes.length;
      return true;
    };
    const first = await download();
    expect(first.error).toMatch(/^NetworkError: Cannot fetch model\.safetensors of the model owner\/name/);
    await page.evaluate(() => trainer.terminate());
    await makeTrainer(page, { hubUrl: hub.url });
    hub.trick = undefined;
    hub.asked.length = 0;
    const second = await download();
    expect(second.error).toBeNull();
    const ranges = hub.asked.filter(({ server }) => server === "cdn").map(({ headers }) => headers.range);
    expect(ranges).toEqual([expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
    expect(Number(/\d+/.exec(ranges[0]!)![0])).toBeLessThanOrEqual(cut); // less if a busy browser had not read all of it
    expect(await plan()).toMatchObject({ problem: null, download: 0 });
  });

  test("are refused if size or hash differ from the listing", async () => {
    hub.listed = (entry) => {
      const lfs = entry.lfs as { size: number } | undefined;
      return lfs ? { ...entry, lfs: { ...lfs, oid: "0".repeat(64) } } : entry;
    };
    expect((await download()).error).toMatch(/^FormatError: .*the listing says sha256 0{64}, but the bytes have/);
    hub.listed = (entry) => entry;
    const fresh = await serve(built);
    page = await web.open(fresh.url);
    await makeTrainer(page, { hubUrl: hub.url });
    hub.listed = (entry) => {
      const lfs = entry.lfs as { size: number } | undefined;
      return lfs ? { ...entry, lfs: { ...lfs, size: lfs.size - 8 } } : entry;
    };
    expect((await download()).error).toMatch(/^FormatError: .*the listing says \d+ bytes, but/);
    const usage = await page.evaluate(() => trainer.storage.usage());
    expect(usage.items.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(weights.length);
    await fresh.close();
  });

  test("give advice for a gated model, and wait if the hub requests it", async () => {
    model.token = TOKEN;
    expect((await download()).error).toMatch(/^NotFoundError: .*owner\/name/);
    await makeTrainer(page, { hubUrl: hub.url, token: TOKEN });
    let asked = 0;
    hub.trick = ({ server }, res) => {
      if (server !== "cdn" || asked++ > 0) return false;
      res.writeHead(429, { "Retry-After": "1" }).end();
      return true;
    };
    expect((await download()).error).toBeNull();
    expect(asked).toBe(3); // tokenizer.json twice, and the weights
    expect(hub.asked.filter(({ server }) => server === "cdn").every(({ headers }) => !headers.authorization)).toBe(
      true,
    );
  });

  test("do not start if the quota is too small", async () => {
    const session = await page.createCDPSession();
    await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(site.url).origin, quotaSize: 100_000 });
    const { error } = await download();
    expect(error).toMatch(
      /^QuotaError: Cannot download .*storage for this site is full\. 2\d\d kB are needed, but only [\d.]+ kB of 100 kB are free/,
    );
    expect(hub.paths("cdn")).toEqual([]);
    await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(site.url).origin });
    expect((await download()).error).toBeNull();
  });
});
