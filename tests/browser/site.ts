import { readdirSync, readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";
import { once } from "./once.ts";

/** Paths, relative and with `/`, and what lies there. */
export type SiteFiles = Map<string, string | Uint8Array>;

export interface Site {
  /** of its root, ending with a slash */
  url: string;
  /** may change while it is served */
  files: SiteFiles;
  /** paths asked for, in order */
  asked: string[];
  close(): Promise<void>;
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** What the page and its worker may do: no eval, and requests to the hub. */
export const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src *; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;";

/**
 * Serves files at a port of its own: an origin of its own, with storage of its own.
 *
 * @param base path that the site lies under; begins and ends with a slash
 * @param cors whether pages of other origins may have its files, as those of a CDN
 */
export async function serve(
  files: SiteFiles,
  { base = "/", policy = POLICY as string | null, cors = false } = {},
): Promise<Site> {
  const asked: string[] = [];
  const answer = (path: string, res: ServerResponse) => {
    if (path === "/favicon.ico") return res.writeHead(204).end();
    const name = path.startsWith(base) ? path.slice(base.length) || "index.html" : null;
    const content = name === null ? undefined : files.get(name);
    if (content === undefined) return res.writeHead(404, { "Content-Type": "text/plain" }).end(`No ${path}`);
    const headers: Record<string, string> = { "Content-Type": TYPES[extname(name!)] ?? "application/octet-stream" };
    if (policy) headers["Content-Security-Policy"] = policy;
    if (cors) headers["Access-Control-Allow-Origin"] = "*";
    return res.writeHead(200, { ...headers, "Cache-Control": "no-store" }).end(content);
  };
  const server = createServer((req, res) => {
    const path = decodeURIComponent(new URL(req.url!, "http://localhost").pathname);
    asked.push(path);
    answer(path, res);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${base}`,
    files,
    asked,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Bundles a module and the workers that it names, minified as for a real page, with an index.html that loads it.
 *
 * @param entry path from the repository's root
 */
export function bundle(entry: string): Promise<SiteFiles> {
  return once(`bundle ${entry}`, () => makeBundle(entry));
}

async function makeBundle(entry: string): Promise<SiteFiles> {
  const output = (await build({
    configFile: false,
    root: ROOT,
    base: "./",
    logLevel: "warn",
    worker: { format: "es" },
    build: {
      write: false,
      target: "es2023",
      modulePreload: false,
      rolldownOptions: { input: join(ROOT, entry), output: { entryFileNames: "page.js" } },
    },
  })) as Rolldown.RolldownOutput;
  const files: SiteFiles = new Map(
    output.output.map((made) => [made.fileName, made.type === "chunk" ? made.code : made.source]),
  );
  files.set(
    "index.html",
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Test</title><script type="module" src="./page.js"></script></html>`,
  );
  return files;
}

/** Every file of a folder, such as the built page. */
export function readSite(folder: string): SiteFiles {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [relative(folder, path).replaceAll("\\", "/"), readFileSync(path)];
    }),
  );
}
