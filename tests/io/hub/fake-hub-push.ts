import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface Repo {
  private: boolean;
  files: Map<string, Buffer>;
  commits: string[];
}

export interface Asked {
  method: string;
  /** `hub` or `store`, and the path */
  server: "hub" | "store";
  path: string;
  token: string | null;
  body: Buffer;
}

/** An odd answer: true when it has answered itself. */
export type Trick = (asked: Asked, res: ServerResponse, req: IncomingMessage) => boolean | undefined;

/**
 * Imitates the parts of huggingface.co for a push: creating a repository, preupload, git-lfs' batch with single and
 * multipart uploads to a store of another origin, and commits of NDJSON, on two ports of this machine.
 */
export class FakePushHub {
  readonly asked: Asked[] = [];
  readonly repos = new Map<string, Repo>();
  /** content of large-file storage, by sha256 */
  readonly store = new Map<string, Buffer>();
  /** files from this size on go there */
  lfsFrom = 1000;
  /** files from this size on are sent there in parts of this many bytes */
  partBytes = Number.POSITIVE_INFINITY;
  token = "hf_write";
  trick: Trick | undefined;
  url = "";
  storeUrl = "";
  readonly #servers: Server[] = [];
  readonly #parts = new Map<string, Buffer>();

  async start(): Promise<this> {
    this.url = await this.#listen("hub");
    this.storeUrl = await this.#listen("store");
    return this;
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  paths(): string[] {
    return this.asked.map(({ method, path }) => `${method} ${path}`);
  }

  async #listen(which: "hub" | "store"): Promise<string> {
    const server = createServer(async (req, res) => {
      const chunks: Buffer[] = [];
      try {
        for await (const chunk of req) chunks.push(chunk);
      } catch {
        return; // the client disconnected
      }
      const token = req.headers.authorization?.replace(/^Bearer /, "") ?? null;
      const path = decodeURIComponent(req.url!.split("?")[0]);
      const asked: Asked = { method: req.method!, server: which, path, token, body: Buffer.concat(chunks) };
      this.asked.push(asked);
      if (this.trick?.(asked, res, req)) return;
      if (which === "hub") this.#hub(asked, res);
      else this.#upload(asked, res);
    });
    this.#servers.push(server);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #hub({ path, token, body, method }: Asked, res: ServerResponse): unknown {
    const json = (status: number, value: unknown) =>
      res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
    if (token !== this.token) return json(401, { error: "Invalid credentials in Authorization header" });
    if (path === "/api/repos/create") {
      const { name, organization, visibility } = JSON.parse(body.toString());
      const id = `${organization}/${name}`;
      if (organization === "others")
        return json(403, { error: `You don't have the rights to create a model under the namespace "others"` });
      if (this.repos.has(id))
        return json(409, { error: "You already created this model repo", url: `${this.url}/${id}` });
      this.repos.set(id, { private: visibility === "private", files: new Map(), commits: [] });
      return json(200, { url: `${this.url}/${id}`, id });
    }
    const id = [...this.repos.keys()].find(
      (one) => path.startsWith(`/api/models/${one}/`) || path.startsWith(`/${one}.git/`),
    );
    if (!id) return json(404, { error: "Repository not found" });
    const repo = this.repos.get(id)!;
    if (path.includes("/preupload/")) {
      const files = JSON.parse(body.toString()).files as { path: string; size: number }[];
      return json(200, {
        files: files.map(({ path, size }) => ({ path, uploadMode: size >= this.lfsFrom ? "lfs" : "regular" })),
      });
    }
    if (path.endsWith("/info/lfs/objects/batch")) {
      const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
      return json(200, { transfer: "basic", objects: objects.map((object) => this.#action(object)) });
    }
    if (path.includes("/commit/") && method === "POST") {
      const lines = body
        .toString()
        .split("\n")
        .map((line) => JSON.parse(line));
      for (const { key, value } of lines) {
        if (key === "file") repo.files.set(value.path, Buffer.from(value.content, "base64"));
        if (key !== "lfsFile") continue;
        const bytes = this.store.get(value.oid);
        if (!bytes || bytes.length !== value.size)
          return json(400, { error: `LFS object ${value.oid} was not uploaded` });
        repo.files.set(value.path, bytes);
      }
      const oid = createHash("sha1").update(body).digest("hex");
      repo.commits.push(lines[0].value.summary);
      return json(200, { commitOid: oid, commitUrl: `${this.url}/${id}/commit/${oid}`, hookOutput: "" });
    }
    if (path.includes("/revision/"))
      return json(200, { _id: "1", id, private: repo.private, lastModified: "2026-01-01" });
    return json(404, { error: "no such route" });
  }

  #action({ oid, size }: { oid: string; size: number }): unknown {
    if (this.store.has(oid)) return { oid, size };
    const href = `${this.storeUrl}/lfs/${oid}?X-Amz-Signature=secretsignature`;
    if (size < this.partBytes) return { oid, size, actions: { upload: { href } } };
    const parts = Math.ceil(size / this.partBytes);
    const header: Record<string, string> = { chunk_size: String(this.partBytes) };
    for (let part = 1; part <= parts; part++)
      header[String(part).padStart(5, "0")] = `${this.storeUrl}/part/${oid}/${part}`;
    return { oid, size, actions: { upload: { href: `${this.storeUrl}/complete/${oid}`, header } } };
  }

  #upload({ path, body }: Asked, res: ServerResponse): unknown {
    const [, kind, oid, part] = path.split("/");
    const keep = (bytes: Buffer) => {
      const hash = createHash("sha256").update(bytes).digest("hex");
      if (hash === oid) this.store.set(oid, bytes);
      return res.writeHead(hash === oid ? 200 : 400).end();
    };
    if (kind === "lfs") return keep(body);
    if (kind === "part") {
      this.#parts.set(`${oid}/${part}`, body);
      return res.writeHead(200, { ETag: `"${part}"` }).end();
    }
    const { parts } = JSON.parse(body.toString()) as { parts: { partNumber: number; etag: string }[] };
    return keep(Buffer.concat(parts.map(({ partNumber }) => this.#parts.get(`${oid}/${partNumber}`)!)));
  }
}
