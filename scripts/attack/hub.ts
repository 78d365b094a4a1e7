import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TINY = fileURLToPath(new URL("../../assets/tiny", import.meta.url));
const COMMIT = "a".repeat(40);
/** The id of the only model of `openHub`. */
export const HUB_MODEL = "owner/tiny";

/** A local hub with the embedded model. @returns its address, and the paths of downloaded files */
export async function openHub(): Promise<{ url: string; downloads: string[]; close(): void }> {
  const names = readdirSync(TINY, { withFileTypes: true }).filter((entry) => entry.isFile());
  const files = new Map(names.map(({ name }) => [name, readFileSync(join(TINY, name))]));
  const downloads: string[] = [];
  const gitId = (bytes: Buffer) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  const server = createServer((req, res) => {
    const { pathname } = new URL(req.url!, "http://hub");
    const json = (body: unknown) =>
      res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    if (pathname.startsWith(`/api/models/${HUB_MODEL}/revision/`)) {
      const about = { _id: "1", id: HUB_MODEL, private: false, lastModified: "2024-01-01T00:00:00.000Z" };
      return json({ ...about, sha: COMMIT });
    }
    if (pathname.startsWith(`/api/models/${HUB_MODEL}/tree/`)) {
      return json([...files].map(([path, bytes]) => ({ type: "file", oid: gitId(bytes), size: bytes.length, path })));
    }
    const name = pathname.replace(`/${HUB_MODEL}/resolve/${COMMIT}/`, "");
    const bytes = files.get(name);
    if (!bytes) return res.writeHead(404).end();
    downloads.push(name);
    // in two pieces, so that another process can arrive in between
    res.writeHead(200, { "Content-Length": bytes.length, ETag: `"${gitId(bytes)}"` });
    res.write(bytes.subarray(0, bytes.length >> 1));
    return setTimeout(() => res.end(bytes.subarray(bytes.length >> 1)), 20);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    downloads,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
