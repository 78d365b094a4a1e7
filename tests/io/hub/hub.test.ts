import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SPECS, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import {
  AbortError,
  FormatError,
  NetworkError,
  NotFoundError,
  RecipeError,
  UnsupportedError,
} from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { downloadModel, type HubOptions, type HubProgress } from "../../../src/io/hub/hub.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { FakeHub, type FakeRepo, failure, TOKEN, type Trick } from "./fake-hub.ts";

const COMMIT = "a".repeat(40);
const NEXT = "b".repeat(40);
const text = (s: string) => new TextEncoder().encode(s);

let hub: FakeHub;
let root: string;
let options: HubOptions;
let repo: FakeRepo;
let weights: Uint8Array;

async function filesOf(folder: Folder): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  return files;
}

beforeEach(async () => {
  hub = await new FakeHub().start();
  root = mkdtempSync(join(tmpdir(), "hub-"));
  options = {
    cache: nodeFolder(root),
    hubUrl: hub.url,
    retry: { attempts: 4, baseDelayMs: 1, maxDelayMs: 2000, stallMs: 15000 },
  };
  const folder = memoryFolder();
  await writeRandomCheckpoint(folder, { ...SPECS.tiny!, vocab_size: 4000 }, 5);
  const files = await filesOf(folder);
  weights = files["model.safetensors"]!;
  repo = {
    kind: "model",
    id: "owner/name",
    refs: { main: COMMIT },
    files: { ...files, "tokenizer.json": text(`{"a":"${"x".repeat(5000)}"}`), "README.md": text("# no") },
  };
  repo.files["onnx/model.onnx"] = text("never fetched");
  hub.repos.push(repo);
});

afterEach(async () => {
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

const snapshot = () => join(root, "models--owner--name/snapshots", COMMIT);
const isWeights: (asked: { server: string; path: string }) => boolean = ({ server, path }) =>
  server === "cdn" && path.includes("model.safetensors");

/** Sends the first `share` of the file, then cuts the connection; `times` times. */
function cut(share: number, times: number, shown = Number.POSITIVE_INFINITY): Trick {
  let left = times;
  return (asked, res) => {
    if (!isWeights(asked) || left-- <= 0) return;
    const from = Number(/bytes=(\d+)/.exec(asked.headers.range ?? "")?.[1] ?? 0);
    const etag = hub.etagOf(weights);
    const head = { ETag: etag, "Content-Length": Math.min(shown, weights.length) - from };
    res.writeHead(from ? 206 : 200, from ? { ...head, "Content-Range": `bytes ${from}-/${weights.length}` } : head);
    const to = from + Math.floor((weights.length - from) * share);
    res.write(weights.subarray(from, to), () => setTimeout(() => res.destroy(), 20));
    return true;
  };
}

describe("downloadModel", () => {
  it("downloads a model's files, stores them by commit, and reports progress", async () => {
    const seen: HubProgress[] = [];
    const folder = await downloadModel("owner/name", { ...options, onProgress: (p) => seen.push({ ...p }) });
    expect(folder.path).toBe(snapshot());
    expect(await folder.list()).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
    expect((await openCheckpoint(folder)).config.vocab_size).toBe(4000);
    expect(readFileSync(join(root, "models--owner--name/refs/main"), "utf8")).toBe(COMMIT);
    const last = seen.at(-1)!;
    expect(last.totalReceived).toBe(last.totalSize);
    expect(last.totalSize).toBe(
      (await folder.list()).reduce((sum, name) => sum + statSync(join(snapshot(), name)).size, 0),
    );
    for (let i = 1; i < seen.length; i++)
      expect(seen[i]!.totalReceived).toBeGreaterThanOrEqual(seen[i - 1]!.totalReceived);
  });

  it("downloads the settings of an image processor", async () => {
    const processors = ["preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"];
    for (const name of processors) repo.files[name] = text("{}");
    const folder = await downloadModel("owner/name", options);
    expect((await folder.list()).filter((name) => name.includes("processor"))).toEqual(processors);
  });

  it("does not download twice, and sends no request for a cached commit", async () => {
    await downloadModel("owner/name", options);
    hub.asked.length = 0;
    await downloadModel("owner/name", options);
    expect(hub.paths("hub")).toEqual(["/api/models/owner/name/revision/main"]);
    hub.asked.length = 0;
    const folder = await downloadModel("owner/name", { ...options, revision: COMMIT });
    expect(hub.asked).toEqual([]);
    expect(await folder.exists("model.safetensors")).toBe(true);
  });

  it("works from the cache when the hub cannot be reached, and only then", async () => {
    await downloadModel("owner/name", options);
    hub.trick = (_asked, res) => !!res.destroy();
    expect((await downloadModel("owner/name", options)).path).toBe(snapshot());
    const error = await failure(downloadModel("owner/other", options));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error.message).toMatch(/the model owner\/other.*\(4 attempts\)/);
  });

  it("downloads a new commit of a branch beside the old commit", async () => {
    await downloadModel("owner/name", options);
    repo.refs.main = NEXT;
    repo.commits = { [NEXT]: { ...repo.files, "config.json": text('{"new":true}') } };
    const folder = await downloadModel("owner/name", options);
    expect(JSON.parse(await folder.readText("config.json"))).toEqual({ new: true });
    expect(existsSync(join(snapshot(), "config.json"))).toBe(true);
  });

  it("fetches the shards that the index names", async () => {
    const folder = memoryFolder();
    await writeRandomCheckpoint(folder, { ...SPECS.tiny!, vocab_size: 4000 }, 5, { maxShardBytes: 300_000 });
    repo.files = { ...(await filesOf(folder)), "other.safetensors": text("not in the index") };
    const got = await downloadModel("owner/name", options);
    expect((await openCheckpoint(got)).totalBytes).toBeGreaterThan(600_000);
    expect(await got.exists("other.safetensors")).toBe(false);
    delete repo.files["model-00002-of-00002.safetensors"];
    repo.refs.main = NEXT;
    const error = await failure(downloadModel("owner/name", options));
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.message).toContain("model-00002-of-00002.safetensors, which is missing");
  });

  it("resumes after a broken connection", async () => {
    hub.trick = cut(0.6, 1);
    const folder = await downloadModel("owner/name", options);
    const tries = hub.asked.filter(isWeights);
    expect(tries.length).toBe(2);
    const from = Number(/^bytes=(\d+)-$/.exec(tries[1]!.headers.range!)![1]);
    expect(from).toBe(Math.floor(weights.length * 0.6));
    expect(tries[1]!.headers["if-range"]).toBe(hub.etagOf(weights));
    expect(Buffer.compare(readFileSync(join(folder.path, "model.safetensors")), weights)).toBe(0);
  });

  it("keeps received bytes after the last attempt, and resumes in the next call", async () => {
    hub.trick = (asked, res) => cutOnce(asked, res, () => {}) || (isWeights(asked) && !!res.destroy());
    const cutOnce = cut(0.6, 1);
    const error = await failure(downloadModel("owner/name", options));
    expect(error).toBeInstanceOf(NetworkError);
    const part = join(snapshot(), "model.safetensors.part");
    expect(statSync(part).size).toBe(Math.floor(weights.length * 0.6));
    expect(existsSync(join(snapshot(), "model.safetensors"))).toBe(false);
    hub.trick = undefined;
    hub.asked.length = 0;
    await downloadModel("owner/name", options);
    expect(hub.asked.find(isWeights)!.headers.range).toBe(`bytes=${Math.floor(weights.length * 0.6)}-`);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
    expect(readdirSync(snapshot()).filter((name) => name.includes(".part"))).toEqual([]);
  });

  async function leavePart(change: (part: string) => void): Promise<void> {
    const cutOnce = cut(0.6, 1);
    hub.trick = (asked, res) => cutOnce(asked, res, () => {}) || (isWeights(asked) && !!res.destroy());
    await failure(downloadModel("owner/name", options));
    change(join(snapshot(), "model.safetensors.part"));
    hub.trick = undefined;
    hub.asked.length = 0;
  }

  it("starts again when the ETag has changed", async () => {
    await leavePart(() => {});
    hub.etagOf = () => '"another"';
    await downloadModel("owner/name", options);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
    expect(hub.asked.filter(isWeights).map(({ headers }) => headers.range)).toEqual([
      expect.stringMatching(/^bytes=/),
      undefined,
    ]);
  });

  it("starts again if the hash shows that the part was damaged", async () => {
    await leavePart((part) => {
      const bytes = readFileSync(part);
      bytes[100]! ^= 1;
      writeFileSync(part, bytes);
    });
    await downloadModel("owner/name", options);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
    expect(hub.asked.filter(isWeights).length).toBe(2);
  });

  it.each<[string, (part: string) => void]>([
    ["is longer than the file", (part) => writeFileSync(part, new Uint8Array(weights.length + 1))],
    ["has lost its notes", (part) => rmSync(`${part}.json`)],
    ["has notes that are cut short", (part) => writeFileSync(`${part}.json`, '{"size":')],
    ["belongs to other content", (part) => writeFileSync(`${part}.json`, JSON.stringify({ size: 1, id: "x" }))],
  ])("starts again when the part %s", async (_what, change) => {
    await leavePart(change);
    await downloadModel("owner/name", options);
    expect(hub.asked.find(isWeights)!.headers.range).toBeUndefined();
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
  });

  it("works with a server without range support", async () => {
    const cutOnce = cut(0.6, 1);
    hub.trick = (asked, res) => {
      if (cutOnce(asked, res, () => {})) return true;
      delete asked.headers.range;
    };
    await downloadModel("owner/name", options);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
  });

  it("waits for Retry-After, and retries after 5xx", async () => {
    const answers = [429, 503, 500];
    let at = 0;
    hub.trick = (asked, res) => {
      if (!isWeights(asked) || at >= answers.length) return;
      const status = answers[at++]!;
      res.writeHead(status, status === 429 ? { "Retry-After": "1" } : {}).end("no");
      return true;
    };
    const start = performance.now();
    await downloadModel("owner/name", options);
    expect(performance.now() - start).toBeGreaterThan(990);
    expect(hub.asked.filter(isWeights).length).toBe(4);
  });

  it("fails at once if Retry-After exceeds the longest wait", async () => {
    hub.trick = (_asked, res) => !!res.writeHead(429, { "Retry-After": "3600" }).end();
    const error = await failure(downloadModel("owner/name", options));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error.message).toMatch(/429.*asks to wait 3600 s/);
    expect(hub.asked.length).toBe(1);
  });

  it("treats a silent connection as broken", async () => {
    let hung = false;
    hub.trick = (asked, res) => {
      if (!isWeights(asked) || hung) return;
      hung = true;
      res.writeHead(200, { "Content-Length": weights.length, ETag: hub.etagOf(weights) });
      res.write(weights.subarray(0, 1000));
      return true;
    };
    await downloadModel("owner/name", { ...options, retry: { ...options.retry, stallMs: 1500 } });
    expect(hub.asked.filter(isWeights)[1]!.headers.range).toBe("bytes=1000-");
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
  });

  it.each<[string, (entry: Record<string, unknown>) => Record<string, unknown>, RegExp]>([
    [
      "is longer than listed",
      (entry) => ({ ...entry, lfs: { ...(entry.lfs as object), size: 5000 } }),
      /model\.safetensors of the model owner\/name.*listing says 5000 bytes/,
    ],
    [
      "is shorter than listed",
      (entry) => ({ ...entry, lfs: { ...(entry.lfs as object), size: 900_000_000 } }),
      /listing says 900000000/,
    ],
    [
      "has another hash",
      (entry) => ({ ...entry, lfs: { ...(entry.lfs as object), oid: "c".repeat(64) } }),
      /sha256 c{64}/,
    ],
  ])("deletes a file that %s", async (_what, listed, message) => {
    hub.listed = (entry) => (entry.path === "model.safetensors" ? listed(entry) : entry);
    const error = await failure(downloadModel("owner/name", options));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(readdirSync(snapshot()).filter((name) => name.startsWith("model.safetensors"))).toEqual([]);
  });

  it("checks small files by their git id", async () => {
    hub.listed = (entry) => (entry.path === "config.json" ? { ...entry, oid: "d".repeat(40) } : entry);
    const error = await failure(downloadModel("owner/name", options));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/config\.json.*git id d{40}/);
  });

  it.each(["../../evil.json", "/etc/evil.json", "a\\..\\evil.json"])("refuses a listing with %s", async (path) => {
    hub.listed = (entry) => (entry.path === "README.md" ? { ...entry, path } : entry);
    expect(await failure(downloadModel("owner/name", options))).toBeInstanceOf(FormatError);
    expect(existsSync(join(root, "models--owner--name/snapshots"))).toBe(false);
  });

  it("sends the token to the hub and not to the CDN", async () => {
    repo.token = TOKEN;
    await downloadModel("owner/name", { ...options, token: `${TOKEN}\n` });
    const sent = (server: string) =>
      new Set(hub.asked.filter((a) => a.server === server).map((a) => a.headers.authorization));
    expect(sent("hub")).toEqual(new Set([`Bearer ${TOKEN}`]));
    expect(sent("cdn")).toEqual(new Set([undefined]));
    const kept = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((p) => p.endsWith(".json"));
    for (const path of kept) expect(readFileSync(join(root, path), "utf8")).not.toContain(TOKEN);
  });

  it("does not follow a listing to another server with the token", async () => {
    repo.token = TOKEN;
    hub.trick = (asked, res, send) => {
      if (!asked.path.includes("/tree/") || asked.path.includes("cursor")) return;
      const head = res.writeHead.bind(res);
      // biome-ignore lint/suspicious/noExplicitAny: one of writeHead's overloads
      res.writeHead = ((status: number, headers: any) =>
        head(status, { ...headers, Link: `<${hub.cdnUrl}/steal>; rel="next"` })) as typeof res.writeHead;
      send();
      return true;
    };
    await failure(downloadModel("owner/name", { ...options, token: TOKEN, retry: { ...options.retry, attempts: 1 } }));
    const stolen = hub.asked.filter(({ path }) => path.includes("steal"));
    expect(stolen.length).toBeGreaterThan(0);
    for (const { headers } of stolen) expect(headers.authorization).toBeUndefined();
  });

  it.each<[number, string | undefined, RegExp]>([
    [401, undefined, /401 GatedRepo: it is gated or private \(set HF_TOKEN/],
    [403, TOKEN, /403 GatedRepo: the token has no access/],
  ])("gives advice for %i", async (_status, token, message) => {
    repo.token = "hf_another";
    const error = await failure(downloadModel("owner/name", { ...options, token }));
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.message).toMatch(message);
  });

  it("names the missing item", async () => {
    const missing = await failure(downloadModel("owner/nothing", { ...options, token: TOKEN }));
    expect(missing).toBeInstanceOf(NotFoundError);
    expect(missing.message).toMatch(/the model owner\/nothing.*404 RepoNotFound/);
    const revision = await failure(downloadModel("owner/name", { ...options, revision: "v9" }));
    expect(revision.message).toMatch(/the revision does not exist/);
    delete repo.files["model.safetensors"];
    repo.files["pytorch_model.bin"] = text("pickle");
    const pickled = await failure(downloadModel("owner/name", options));
    expect(pickled).toBeInstanceOf(UnsupportedError);
    expect(pickled.message).toContain("pytorch_model.bin");
  });

  it.each(["", "../x", "a/b/c", "a/../b", "https://x", "owner/na me", "owner/..", "owner/name?x"])(
    "refuses the id %j",
    async (id) => {
      expect(await failure(downloadModel(id, options))).toBeInstanceOf(RecipeError);
      expect(hub.asked).toEqual([]);
    },
  );

  it("refuses an invalid revision, token or URL, without printing the token", async () => {
    const check = async (change: Partial<HubOptions>) => {
      const error = await failure(downloadModel("owner/name", { ...options, ...change }));
      expect(error).toBeInstanceOf(RecipeError);
      return error.message;
    };
    await check({ revision: "../main" });
    await check({ revision: "a b" });
    await check({ token: `${TOKEN}\r\nX: y` });
    await check({ hubUrl: "file:///etc" });
    await check({ hubUrl: "nonsense" });
    expect(await check({ hubUrl: "https://me:pass@hub.example" })).not.toContain("pass@");
  });

  it.each(["<html>", "[]", '{"sha":5}', ""])("reports the answer %j as a FormatError", async (body) => {
    hub.trick = (_asked, res) => !!res.writeHead(200, { "Content-Type": "application/json" }).end(body);
    expect(await failure(downloadModel("owner/name", options))).toBeInstanceOf(FormatError);
  });

  it("stops on request, keeps received bytes, and resumes later", async () => {
    const control = new AbortController();
    hub.trick = (asked, res) => {
      if (!isWeights(asked)) return;
      res.writeHead(200, { "Content-Length": weights.length, ETag: hub.etagOf(weights) });
      res.write(weights.subarray(0, 5000)); // then waits
      return true;
    };
    const onProgress = ({ file, received }: HubProgress) => {
      if (file === "model.safetensors" && received === 5000) control.abort();
    };
    const error = await failure(downloadModel("owner/name", { ...options, onProgress, signal: control.signal }));
    expect(error).toBeInstanceOf(AbortError);
    expect(statSync(join(snapshot(), "model.safetensors.part")).size).toBe(5000);
    hub.trick = undefined;
    await downloadModel("owner/name", options);
    expect(Buffer.compare(readFileSync(join(snapshot(), "model.safetensors")), weights)).toBe(0);
    const gone = await failure(downloadModel("owner/name", { ...options, signal: AbortSignal.abort() }));
    expect(gone).toBeInstanceOf(AbortError);
  });

  it("works in a folder that cannot append, also with broken connections", async () => {
    const plain = (folder: Folder): Folder => {
      const { appendBytes: _none, ...rest } = folder as Folder & { appendBytes?: unknown };
      return { ...rest, folder: (name) => plain(folder.folder(name)) };
    };
    const cache = memoryFolder();
    hub.trick = cut(0.6, 1);
    const folder = await downloadModel("owner/name", { ...options, cache: plain(cache) });
    expect(Buffer.compare((await filesOf(folder))["model.safetensors"]!, weights)).toBe(0);
    expect(hub.asked.filter(isWeights)[1]!.headers.range).toBeDefined();
    hub.listed = (entry) => (entry.path === "config.json" ? { ...entry, oid: "d".repeat(40) } : entry);
    const error = await failure(downloadModel("owner/name", { ...options, cache: plain(memoryFolder()) }));
    expect(error).toBeInstanceOf(FormatError);
  });

  it("identifies wrong content at once: a login page, a pointer, a shorter file", async () => {
    const page = text("<!DOCTYPE html><html><head><title>Sign in to Example</title></head></html>");
    const pointer = text(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 123456789\n`);
    const cases: [Uint8Array, Record<string, string>, RegExp][] = [
      [page, { "Content-Type": "text/html; charset=utf-8" }, /the content is a web page \("Sign in to Example"\)/],
      [pointer, {}, /the content is a Git LFS pointer/],
      [weights.subarray(0, 100), {}, /the server sends 100; the content is another file/],
    ];
    for (const [body, headers, message] of cases) {
      let asked = 0;
      hub.trick = (request, res) => {
        if (!isWeights(request)) return;
        asked++;
        res.writeHead(200, { ...headers, "Content-Length": body.length }).end(body);
        return true;
      };
      await expect(downloadModel("owner/name", options)).rejects.toThrow(message);
      expect(asked).toBe(1);
    }
    hub.trick = (request, res) => {
      if (request.server !== "hub") return;
      res.writeHead(200, { "Content-Type": "text/html" }).end(page);
      return true;
    };
    rmSync(root, { recursive: true, force: true });
    await expect(downloadModel("owner/name", options)).rejects.toThrow(
      /answers with a web page \("Sign in to Example"\), not with JSON/,
    );
    await expect(downloadModel("owner/name", options)).rejects.toThrow(FormatError);
  });

  it("does not mistake the file server's 403 for a gated model, and requests another address", async () => {
    let refused = 0;
    hub.trick = (request, res) => {
      if (!isWeights(request) || refused >= 2) return;
      refused++;
      res.writeHead(403).end("expired");
      return true;
    };
    await downloadModel("owner/name", options);
    expect(refused).toBe(2);
    rmSync(root, { recursive: true, force: true });
    refused = Number.NEGATIVE_INFINITY;
    const failed = downloadModel("owner/name", options);
    await expect(failed).rejects.toThrow(/the file server refuses an address that the hub signed/);
    await expect(failed).rejects.toThrow(NetworkError);
    await expect(failed).rejects.not.toThrow(/HF_TOKEN|gated/);
  });

  it("reads a cache of Python's libraries, without the network and without writing to it", async () => {
    await downloadModel("owner/name", options);
    rmSync(join(root, "models--owner--name/listings"), { recursive: true });
    const before = hub.asked.length;
    const offline = { ...options, offline: true };
    const folder = await downloadModel("owner/name", offline);
    expect(Object.keys(await filesOf(folder))).toContain("model.safetensors");
    expect(hub.asked.length).toBe(before);
    expect(existsSync(join(root, "models--owner--name/listings"))).toBe(false);
    await expect(downloadModel("owner/other", offline)).rejects.toThrow(/no revision main of it.*HF_HUB_OFFLINE/);
    rmSync(join(snapshot(), "model.safetensors"));
    await expect(downloadModel("owner/name", offline)).rejects.toThrow(NotFoundError);
    // the network is down rather than forbidden
    await downloadModel("owner/name", options);
    rmSync(join(root, "models--owner--name/listings"), { recursive: true });
    await hub.stop();
    const down = await downloadModel("owner/name", { ...options, retry: { ...options.retry, attempts: 1 } });
    expect(Object.keys(await filesOf(down))).toContain("model.safetensors");
    hub = await new FakeHub().start();
  });

  it("shares one download between two processes that need the same model", async () => {
    const notes: string[] = [];
    const both = { ...options, onNote: (note: string) => notes.push(note) };
    await Promise.all([downloadModel("owner/name", both), downloadModel("owner/name", both)]);
    expect(hub.asked.filter(isWeights)).toHaveLength(1);
    expect(notes.join()).toMatch(/is being downloaded by process \d+ of .*: waiting for it/);
    expect(readdirSync(snapshot()).filter((name) => /lock|part/.test(name))).toEqual([]);
  });

  it("refuses endless listings: empty pages, folders, brackets", async () => {
    const answers: [string, string | (() => string), RegExp][] = [
      ["empty pages", "[]", /its listing has more than \d+ pages/],
      ["brackets", () => "[".repeat(200), /nested deeper than 100/],
      ["too much", () => `"${"x".repeat(21e6)}"`, /more than 20 MB of JSON/],
    ];
    for (const [, body, message] of answers) {
      hub.trick = (request, res) => {
        if (request.server !== "hub" || !request.path.includes("/tree/")) return;
        res.writeHead(200, { "Content-Type": "application/json", Link: `<${hub.url}${request.path}>; rel="next"` });
        res.end(typeof body === "string" ? body : body());
        return true;
      };
      await expect(downloadModel("owner/name", options)).rejects.toThrow(message);
    }
  });
});
