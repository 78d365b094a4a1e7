import { createHash } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";

export interface Asked {
  server: "hub" | "cdn";
  path: string;
  headers: IncomingHttpHeaders;
}

export interface FakeRepo {
  kind: "model" | "dataset";
  id: string;
  /** revision → commit; other branches do not exist */
  refs: Record<string, string>;
  /** the same files in every commit, unless `commits` says otherwise */
  files: Record<string, Uint8Array>;
  commits?: Record<string, Record<string, Uint8Array>>;
  /** when set, only this token may read it */
  token?: string;
}

/** An odd answer: returns true when it has answered `asked` itself. */
export type Trick = (asked: Asked, res: ServerResponse, send: () => void) => boolean | undefined;

const hashes = new WeakMap<Uint8Array, string>();

/** Large files are hashed once. */
function sha256(bytes: Uint8Array): string {
  const known = hashes.get(bytes) ?? createHash("sha256").update(bytes).digest("hex");
  hashes.set(bytes, known);
  return known;
}

const gitId = (bytes: Uint8Array) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Imitates huggingface.co and its CDN, on two ports of this machine. */
export class FakeHub {
  readonly asked: Asked[] = [];
  trick: Trick | undefined;
  /** files from this size on are in large-file storage, behind the CDN */
  lfsFrom = 1000;
  /** changes the listing */
  listed: (entry: Record<string, unknown>) => Record<string, unknown> = (entry) => entry;
  readonly repos: FakeRepo[] = [];
  #hub: Server;
  #cdn: Server;
  url = "";
  cdnUrl = "";

  constructor() {
    this.#hub = this.#server("hub");
    this.#cdn = this.#server("cdn");
  }

  async start(): Promise<this> {
    const listen = async (server: Server) => {
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    };
    this.url = await listen(this.#hub);
    this.cdnUrl = await listen(this.#cdn);
    return this;
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  /** requested paths, without queries */
  paths(server: "hub" | "cdn"): string[] {
    return this.asked.filter((asked) => asked.server === server).map(({ path }) => path.split("?")[0]!);
  }

  #server(which: "hub" | "cdn"): Server {
    return createServer((req, res) => {
      // CORS answers as from the hub and its CDN; pages may not send If-Range without permission.
      res.setHeader("Access-Control-Allow-Origin", "*");
      res.setHeader(
        "Access-Control-Expose-Headers",
        "ETag, Link, Accept-Ranges, Content-Range, X-Error-Code, X-Error-Message, X-Linked-Size, X-Linked-ETag",
      );
      if (req.method === "OPTIONS") {
        res.writeHead(204, { "Access-Control-Allow-Headers": "Authorization, Range" }).end();
        return;
      }
      const asked = { server: which, path: decodeURIComponent(req.url!), headers: req.headers };
      this.asked.push(asked);
      const send = () => (which === "hub" ? this.#answerHub(asked, req.url!, res) : this.#answerCdn(asked, res));
      if (!this.trick?.(asked, res, send)) send();
    });
  }

  #filesOf(repo: FakeRepo, commit: string) {
    return repo.commits?.[commit] ?? repo.files;
  }

  #answerHub(asked: Asked, rawUrl: string, res: ServerResponse): unknown {
    const url = new URL(rawUrl, this.url);
    const fail = (status: number, code: string) =>
      res.writeHead(status, { "X-Error-Code": code, "Content-Type": "application/json" }).end(`{"error":"${code}"}`);
    const known = this.#answerSearch(url);
    if (known) return res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(known));
    const repo = this.repos.find(({ kind, id }) =>
      [`/api/${kind}s/${id}/`, `/${kind === "model" ? "" : "datasets/"}${id}/resolve/`].some((start) =>
        url.pathname.startsWith(start),
      ),
    );
    if (!repo) return fail(asked.headers.authorization ? 404 : 401, "RepoNotFound");
    if (repo.token && asked.headers.authorization !== `Bearer ${repo.token}`) {
      return fail(asked.headers.authorization ? 403 : 401, "GatedRepo");
    }
    const rest = url.pathname.slice(url.pathname.indexOf(repo.id) + repo.id.length + 1);
    const [verb, rev, ...path] = rest.split("/").map(decodeURIComponent);
    const commit = Object.values(repo.refs).includes(rev!) ? rev! : repo.refs[rev!];
    if (!commit) return fail(404, "RevisionNotFound");
    if (verb === "revision") {
      const body = { _id: "1", id: repo.id, sha: commit, private: false, lastModified: "2024-01-01T00:00:00.000Z" };
      return res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    }
    const files = this.#filesOf(repo, commit);
    if (verb === "tree") {
      const all = Object.entries(files).map(([name, bytes]) => {
        const lfs = bytes.length >= this.lfsFrom;
        return this.listed({
          type: "file",
          path: name,
          size: bytes.length,
          oid: lfs ? "0".repeat(40) : gitId(bytes),
          ...(lfs ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
        });
      });
      all.unshift({ type: "directory", path: "onnx", size: 0, oid: "1".repeat(40) });
      const from = Number(url.searchParams.get("cursor") ?? 0);
      url.searchParams.set("cursor", String(from + 3));
      const more = from + 3 < all.length ? { Link: `<${url.href}>; rel="next"` } : {};
      res.writeHead(200, { "Content-Type": "application/json", ...more });
      return res.end(JSON.stringify(all.slice(from, from + 3)));
    }
    const bytes = files[path.join("/")];
    if (!bytes) return fail(404, "EntryNotFound");
    if (bytes.length < this.lfsFrom) return this.#sendBytes(asked, res, bytes);
    const key = `${repo.kind}|${repo.id}|${commit}|${path.join("/")}`;
    res.writeHead(302, {
      Location: `${this.cdnUrl}/blob/${encodeURIComponent(key)}?Signature=secret`,
      "X-Linked-Size": bytes.length,
      "X-Linked-ETag": `"${sha256(bytes)}"`,
    });
    return res.end();
  }

  /** The search for data sets, and what the hub's server of data sets tells of one; null: another request. */
  #answerSearch({ pathname, searchParams }: URL): unknown {
    const sets = this.repos.filter(({ kind }) => kind === "dataset");
    if (pathname === "/api/datasets") {
      const found = sets.filter(({ id }) => id.includes(searchParams.get("search") ?? ""));
      return found.map(({ id }, i) => ({ id, downloads: 1000 >> i }));
    }
    const set = sets.find(({ id }) => id === searchParams.get("dataset"));
    // data files are CONFIG/SPLIT.jsonl
    const parts = Object.keys(set?.files ?? {}).flatMap((name) => {
      const [, config, split] = /^([\w-]+)\/([\w-]+)\.jsonl$/.exec(name) ?? [];
      return split ? [{ config, split, name }] : [];
    });
    if (pathname === "/splits") return { splits: parts.map(({ config, split }) => ({ config, split })) };
    if (pathname !== "/first-rows") return null;
    const part = parts.find(
      ({ config, split }) => config === searchParams.get("config") && split === searchParams.get("split"),
    );
    const lines = part ? new TextDecoder().decode(set!.files[part.name]).trim().split("\n").slice(0, 100) : [];
    return { rows: lines.map((line) => ({ row: JSON.parse(line) })) };
  }

  #answerCdn(asked: Asked, res: ServerResponse): void {
    const [kind, id, commit, path] = asked.path.split("?")[0]!.slice("/blob/".length).split("|");
    const repo = this.repos.find((one) => one.kind === kind && one.id === id);
    const bytes = repo && this.#filesOf(repo, commit!)[path!];
    if (bytes) this.#sendBytes(asked, res, bytes);
    else res.writeHead(404).end();
  }

  /** etag → answers to Range and If-Range as in RFC 9110 */
  etagOf: (bytes: Uint8Array) => string = (bytes) => `"${sha256(bytes)}"`;

  #sendBytes(asked: Asked, res: ServerResponse, bytes: Uint8Array): unknown {
    const etag = this.etagOf(bytes);
    const range = /^bytes=(\d+)-(\d*)$/.exec(asked.headers.range ?? "");
    const condition = asked.headers["if-range"];
    if (range && (condition === undefined || condition === etag)) {
      const from = Number(range[1]);
      if (from >= bytes.length) return res.writeHead(416).end();
      const end = range[2] ? Math.min(Number(range[2]) + 1, bytes.length) : bytes.length;
      res.writeHead(206, {
        ETag: etag,
        "Content-Length": end - from,
        "Content-Range": `bytes ${from}-${end - 1}/${bytes.length}`,
      });
      return res.end(bytes.subarray(from, end));
    }
    res.writeHead(200, { ETag: etag, "Content-Length": bytes.length });
    return res.end(bytes);
  }
}

export const TOKEN = "hf_veryverysecret";

/** The error of work that must fail; checks that it contains neither the token nor a CDN's signature. */
export async function failure(work: Promise<unknown>): Promise<Error> {
  const error = await work.then(
    () => new Error("it succeeded"),
    (e: Error) => e,
  );
  expect(error.message).not.toContain(TOKEN);
  expect(error.message).not.toContain("Signature");
  return error;
}
