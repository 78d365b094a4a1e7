import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { type PushOptions, pushFiles } from "../../../src/io/hub/push.ts";
import { FakePushHub, type Trick } from "./fake-hub-push.ts";

const root = mkdtempSync(join(tmpdir(), "push-"));
afterAll(() => rmSync(root, { recursive: true }));
const large = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7) & 255));
writeFileSync(join(root, "model.safetensors"), large);

let hub: FakePushHub;
beforeEach(async () => {
  hub = await new FakePushHub().start();
});
afterEach(() => hub.stop());

const files = () => [
  { path: "README.md", content: new Blob(["# card"]) },
  { path: "model.safetensors", content: pathToFileURL(join(root, "model.safetensors")) },
];
const push = (more: Partial<PushOptions> = {}) =>
  pushFiles(files(), {
    repo: "me/model",
    token: hub.token,
    hubUrl: hub.url,
    title: "Upload",
    retry: { attempts: 3, baseDelayMs: 1 },
    ...more,
  });

/** The error of a push; checks that it contains neither the token nor a store's signature. */
async function failure(more: Partial<PushOptions> = {}): Promise<Error> {
  const error = await push(more).then(
    () => new Error("it succeeded"),
    (e: Error) => e,
  );
  for (const secret of [hub.token, "secretsignature"]) expect(error.message).not.toContain(secret);
  return error;
}

describe("a push", () => {
  test("creates the repository, sends large files to their storage, and commits once", async () => {
    const told = new Set<string>();
    const pushed = await push({ private: true, onProgress: (what) => told.add(what) });
    expect(pushed).toEqual({
      url: `${hub.url}/me/model`,
      commit: expect.stringMatching(/^[0-9a-f]{40}$/),
      created: true,
    });
    const repo = hub.repos.get("me/model")!;
    expect(repo.private).toBe(true);
    expect(repo.commits).toEqual(["Upload"]);
    expect(repo.files.get("README.md")!.toString()).toBe("# card");
    expect(repo.files.get("model.safetensors")!.equals(large)).toBe(true);
    expect(told).toContain("Sending model.safetensors");
    // the token is sent only to the hub
    for (const { server, token } of hub.asked) expect(token).toBe(server === "hub" ? hub.token : null);
  });

  test("pushes to an existing repository; stored files are not sent again", async () => {
    expect((await push()).created).toBe(true);
    const sent = () => hub.paths().filter((path) => path.startsWith("PUT")).length;
    const before = sent();
    expect((await push()).created).toBe(false);
    expect([before, sent()]).toEqual([1, 1]);
    expect(hub.repos.get("me/model")!.commits).toHaveLength(2);
  });

  test("sends in parts if the hub requests it", async () => {
    hub.partBytes = 2000;
    await push();
    expect(hub.paths().filter((path) => path.startsWith("PUT /part"))).toHaveLength(3);
    expect(hub.repos.get("me/model")!.files.get("model.safetensors")!.equals(large)).toBe(true);
  });

  test("refuses to push as private to a public repository", async () => {
    await push();
    const error = await failure({ private: true });
    expect(error.message).toMatch(/it exists already and is public.*omit --private/);
    expect(hub.repos.get("me/model")!.commits).toHaveLength(1);
    hub.repos.get("me/model")!.private = true;
    expect((await push({ private: true })).created).toBe(false);
  });
});

describe("a failed push gives the reason", () => {
  test.each([
    ["no token", { token: undefined }, "RecipeError", /set HF_TOKEN to a token with write access/],
    ["a token that is none", { token: "secret" }, "RecipeError", /HF_TOKEN must be a token that begins with hf_/],
    ["a token with a line break", { token: "hf_a\nb" }, "RecipeError", /spaces, line breaks/],
    ["a name without owner", { repo: "model" }, "RecipeError", /a repository name must be owner\/name/],
    ["a name that is none", { repo: "me/../x" }, "RecipeError", /a hub id must be owner\/name/],
    ["an address that is none", { hubUrl: "not a url" }, "RecipeError", /hub URL "not a url": it is not a URL/],
  ] as [string, Partial<PushOptions>, string, RegExp][])("%s", async (_, more, name, message) => {
    const error = await failure(more);
    expect(error.name).toBe(name);
    expect(error.message).toMatch(message);
    expect(hub.asked).toEqual([]);
  });

  const answer =
    (match: string, status: number, body: unknown): Trick =>
    ({ server, path }, res) => {
      if (!`${server}${path}`.includes(match)) return;
      res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      return true;
    };

  test.each([
    [
      "an old token",
      /answers 401 \(Invalid credentials.*does not accept the token in HF_TOKEN/,
      "NotFoundError",
      { token: "hf_old" },
      null,
    ],
    [
      "another owner",
      /answers 403 \(You don't have the rights.*the token in HF_TOKEN has no write access/,
      "NotFoundError",
      { repo: "others/model" },
      null,
    ],
    [
      "nobody",
      /answers 404 .*the owner does not exist/,
      "NotFoundError",
      {},
      answer("/preupload/", 404, { error: "Repository not found" }),
    ],
    [
      "a commit between",
      /answers 409 \(A commit has happened since\): another commit changed it meanwhile; push again/,
      "BusyError",
      {},
      answer("/commit/", 409, { error: "A commit has happened since" }),
    ],
    ["a condition that fails", /answers 412: another commit/, "BusyError", {}, answer("/commit/", 412, {})],
    [
      "a file that is refused, with the token in the answer",
      /answers 400 \(bad README: … is no\)/,
      "NetworkError",
      {},
      answer("/commit/", 400, { error: "bad README: hf_write is no" }),
    ],
    [
      "trouble while it commits",
      /answers 500 \(oops\)/,
      "NetworkError",
      {},
      answer("/commit/", 500, { error: "oops" }),
    ],
    [
      "another answer than the API's",
      /the hub's answer does not match its API/,
      "NetworkError",
      {},
      answer("/preupload/", 200, "text"),
    ],
    ["no commit", /returned no commit/, "NetworkError", {}, answer("/commit/", 200, {})],
    [
      "a signature that has expired",
      /the large-file storage \S+ answers 403/,
      "NetworkError",
      {},
      answer("store/lfs/", 403, { error: "expired" }),
    ],
    [
      "trouble",
      /Cannot push to the model me\/model \(\S+batch\): \S+ answers 503 \(3 attempts\)/,
      "NetworkError",
      {},
      answer("/objects/batch", 503, {}),
    ],
    [
      "another file's upload",
      /does not match its API/,
      "NetworkError",
      {},
      answer("/objects/batch", 200, { objects: [{ oid: "0".repeat(64), size: 1 }] }),
    ],
  ] as [string, RegExp, string, Partial<PushOptions>, Trick | null][])("%s", async (_, message, name, more, trick) => {
    hub.trick = trick ?? undefined;
    const error = await failure(more);
    expect(error.message).toMatch(message);
    expect(error.name).toBe(name);
    expect([...hub.repos.values()].flatMap(({ files }) => [...files.keys()])).toEqual([]);
  });

  test("retries after a broken connection, without sending files twice", async () => {
    let cuts = 0;
    hub.trick = ({ path }, _, req) => {
      if (!/create|preupload|batch|\/lfs\//.test(path) || cuts >= 2) return;
      cuts++;
      req.socket.destroy();
      return true;
    };
    await push();
    expect(cuts).toBe(2);
    expect(hub.repos.get("me/model")!.files.size).toBe(2);
  });

  test("a connection that always breaks", async () => {
    hub.trick = ({ path }, _, req) => path.startsWith("/lfs/") && Boolean(req.socket.destroy());
    const error = await failure();
    expect(error.name).toBe("NetworkError");
    expect(error.message).toMatch(
      /Cannot push to the model me\/model \(\/lfs\/\w+\): the connection failed \(.*\) \(3 attempts\)/,
    );
  });

  test("a commit is not sent twice: it may have arrived", async () => {
    hub.trick = ({ path }, _, req) => path.includes("/commit/") && Boolean(req.socket.destroy());
    const error = await failure();
    expect(error.message).toMatch(
      /Cannot tell whether the push to the model me\/model arrived: .*Look at http\S+ before you push again/,
    );
    expect(hub.paths().filter((path) => path.includes("/commit/"))).toHaveLength(1);
  });

  test("an unreachable hub", async () => {
    const other = await new FakePushHub().start();
    await other.stop();
    const error = await failure({ hubUrl: other.url });
    expect(error.name).toBe("NetworkError");
    expect(error.message).toMatch(/the connection failed \(.*ECONNREFUSED.*\) \(3 attempts\)/);
  });

  test("a missing file", async () => {
    const gone = [{ path: "a.bin", content: pathToFileURL(join(root, "gone.bin")) }];
    const options = { repo: "me/model", token: hub.token, hubUrl: hub.url, title: "Upload" };
    await expect(pushFiles(gone, options)).rejects.toThrow(/gone\.bin/);
    const outside = [{ path: "../a.bin", content: new Blob(["x"]) }];
    await expect(pushFiles(outside, options)).rejects.toThrow(/stay inside/);
  });

  test("an abort", async () => {
    const abort = new AbortController();
    hub.trick = ({ path }) => {
      if (!path.startsWith("/lfs/")) return;
      abort.abort();
      return true; // never answers
    };
    const error = await failure({ signal: abort.signal });
    expect([error.name, error.message]).toEqual(["AbortError", "Stopped pushing to the model me/model"]);
    expect(hub.repos.get("me/model")!.files.size).toBe(0);
  });
});
