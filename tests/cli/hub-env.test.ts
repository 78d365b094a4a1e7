import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cacheFolder, fromHub, hubName, hubOptions, hubToken, snapshotIn } from "../../src/cli/sources/hub.ts";
import { NotFoundError } from "../../src/errors.ts";
import { useEnvProxy } from "../../src/platform/node/proxy.ts";

let root: string;
const said: string[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "hub-env-"));
  said.length = 0;
  vi.spyOn(console, "error").mockImplementation((line) => void said.push(String(line)));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const options = (env: Record<string, string | undefined>) => hubOptions(undefined, () => {}, env);

describe("the hub as the environment describes it", () => {
  it("has the same cache folder as Hugging Face's libraries", () => {
    expect(cacheFolder({ HOME: "/h" })).toBe("/h/.cache/huggingface/hub");
    expect(cacheFolder({ HOME: "/h", XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
    expect(cacheFolder({ HOME: "/h", HF_HOME: "/f" })).toBe("/f/hub");
    expect(cacheFolder({ HF_HUB_CACHE: "/c", HF_HOME: "/f" })).toBe("/c");
    expect(cacheFolder({})).toMatch(/huggingface/); // no HOME at all
  });

  it("reads the token from the environment, else from the login's file", () => {
    writeFileSync(join(root, "token"), "hf_file\n");
    expect(hubToken({ HF_HOME: root })).toBe("hf_file");
    expect(hubToken({ HF_HOME: root, HF_TOKEN: " hf_env " })).toBe("hf_env");
    expect(hubToken({ HF_TOKEN_PATH: join(root, "token") })).toBe("hf_file");
    expect(hubToken({ HF_HOME: join(root, "none") })).toBeUndefined();
  });

  it("warns before a token is sent unencrypted", () => {
    const env = { HF_HOME: root, HF_TOKEN: "hf_secret" };
    options({ ...env, HF_ENDPOINT: "https://mirror.example" });
    options({ ...env, HF_ENDPOINT: "http://127.0.0.1:8000" });
    expect(said).toEqual([]);
    options({ ...env, HF_ENDPOINT: "http://mirror.example" });
    options({ ...env, NODE_TLS_REJECT_UNAUTHORIZED: "0" });
    expect(said).toHaveLength(2);
    expect(said[0]).toMatch(/token is sent to http:\/\/mirror\.example unencrypted/);
    expect(said[1]).toMatch(/NODE_TLS_REJECT_UNAUTHORIZED/);
    expect(said.join()).not.toContain("hf_secret");
  });

  it("reads a read-only cache, and downloads elsewhere", async () => {
    const home = join(root, "file"); // a folder cannot be made below a file, whoever asks
    writeFileSync(home, "");
    const hub = options({ HF_HUB_CACHE: join(home, "hub") });
    expect(hub.cache.path).toContain(tmpdir());
    expect(hub.readOnly).toBeNull();
    expect(said.join()).toMatch(/cannot be written, so downloads go to .*; set HF_HOME/);

    const seen: (boolean | undefined)[] = [];
    const readOnly = hub.cache;
    const made = await fromHub({ ...hub, readOnly }, async ({ offline }) => {
      seen.push(offline);
      if (offline) throw new NotFoundError("not in it");
      return "downloaded";
    });
    expect([made, seen]).toEqual(["downloaded", [true, false]]);
    const offline = fromHub({ ...hub, readOnly, offline: true }, async () => {
      throw new NotFoundError("not in it");
    });
    await expect(offline).rejects.toThrow("not in it");
  });

  it("knows a repository's folder of the cache, by its path and by its name", () => {
    const commit = "a".repeat(40);
    const repo = join(root, "models--Qwen--Qwen2.5-0.5B");
    mkdirSync(join(repo, "snapshots", commit), { recursive: true });
    mkdirSync(join(repo, "refs"));
    expect(() => snapshotIn(repo)).toThrow(/no snapshot of the branch main/);
    writeFileSync(join(repo, "refs/main"), commit);
    expect(snapshotIn(repo)).toBe(join(repo, "snapshots", commit));
    expect(snapshotIn(root)).toBe(root);
    expect(hubName("models--Qwen--Qwen2.5-0.5B")).toBe("Qwen/Qwen2.5-0.5B");
    expect(hubName("Qwen/Qwen2.5-0.5B")).toBe("Qwen/Qwen2.5-0.5B");
    chmodSync(repo, 0o755);
  });
});

describe("useEnvProxy", () => {
  it("sends what NO_PROXY does not name through the proxy, and loads nothing without one", async () => {
    const own = globalThis.fetch;
    await useEnvProxy({});
    expect(globalThis.fetch).toBe(own);
    const target = createServer((_, res) => res.end("here"));
    const asked: string[] = [];
    const proxy = createServer();
    proxy.on("connect", (request, socket) => {
      asked.push(request.url!);
      const through = connect((target.address() as AddressInfo).port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        through.pipe(socket).pipe(through);
      });
    });
    for (const server of [target, proxy]) await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const port = (server: typeof target) => (server.address() as AddressInfo).port;
    try {
      await useEnvProxy({ HTTP_PROXY: `http://127.0.0.1:${port(proxy)}`, NO_PROXY: "127.0.0.1" });
      expect(await (await fetch("http://hub.example/x")).text()).toBe("here");
      expect(await (await fetch(`http://127.0.0.1:${port(target)}/x`)).text()).toBe("here");
      expect(asked).toEqual(["hub.example:80"]);
    } finally {
      globalThis.fetch = own;
      for (const server of [target, proxy]) {
        server.closeAllConnections();
        server.close();
      }
    }
  });
});
