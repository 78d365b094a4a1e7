import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { QwenchError } from "../../errors.ts";
import type { RunFolders } from "./folders.ts";

/** What the page may do: run its one script, and ask this server. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SHELL = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Qwench</title>
</head>
<body>
<noscript>Qwench needs JavaScript; please turn it on for this page.</noscript>
<div id="page"></div>
<script type="module" src="/ui.js"></script>
</body>
</html>
`;

/** A page for the runs in some folders. */
export interface UiServer {
  /** with the token, which the page keeps for its tab */
  url: string;
  close(): Promise<void>;
}

interface UiOptions {
  /** 0: any free one */
  port: number;
  /** the page's script */
  script: string;
}

/**
 * Serves a read-only page over loopback. Answers only requests that name this host, against DNS rebinding, and tells facts of
 * runs only to whoever has the token, against other users of the machine. No file of a run's folder is served as it is.
 *
 * @throws {QwenchError} the port is taken
 */
export async function serveUi(folders: RunFolders, { port, script }: UiOptions): Promise<UiServer> {
  const token = randomBytes(24).toString("base64url");
  const server = createServer((request, response) => {
    answer(request, response, { folders, script, token, port: (server.address() as AddressInfo).port }).catch(() => {
      if (!response.headersSent) send(response, 500, "text/plain", "The request could not be answered");
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "another program uses it" : error.message;
      reject(new QwenchError(`Cannot listen on port ${port}: ${why}. Name another --port, or none`));
    });
    server.listen(port, "127.0.0.1", resolve);
  });
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${taken}/?token=${token}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Served {
  folders: RunFolders;
  script: string;
  token: string;
  port: number;
}

async function answer(request: IncomingMessage, response: ServerResponse, served: Served): Promise<void> {
  const { folders, script, token, port } = served;
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  if (!hosts.includes(request.headers.host ?? "")) return send(response, 421, "text/plain", "Wrong host");
  const { origin } = request.headers;
  if (origin !== undefined && !hosts.some((host) => origin === `http://${host}`))
    return send(response, 403, "text/plain", "Wrong origin");
  if (request.method !== "GET" && request.method !== "HEAD")
    return send(response, 405, "text/plain", "This page only reads");
  const url = new URL(request.url ?? "/", `http://127.0.0.1:${port}`);
  if (url.pathname === "/") return send(response, 200, "text/html; charset=utf-8", SHELL);
  if (url.pathname === "/ui.js") return send(response, 200, "text/javascript; charset=utf-8", script);
  if (!url.pathname.startsWith("/api/")) return send(response, 404, "text/plain", "Not found");
  if (!same(String(request.headers["x-qwench-token"] ?? ""), token))
    return send(
      response,
      401,
      "application/json",
      JSON.stringify({ problem: "Open the address that qwench ui has printed: this one has no valid token." }),
    );
  const json = await fact(url, folders);
  if (json === null)
    return send(response, 404, "application/json", JSON.stringify({ problem: "There is no such run." }));
  send(response, 200, "application/json", JSON.stringify(json));
}

/** What an address of the API names; null: nothing. */
async function fact(url: URL, folders: RunFolders): Promise<unknown> {
  const query = url.searchParams;
  if (url.pathname === "/api/runs") {
    const runs = await folders.runs();
    return Promise.all(runs.map((run) => run.summary()));
  }
  if (url.pathname !== "/api/run") return null;
  const run = await folders.run(query.get("id") ?? "");
  const count = (name: string) => Math.max(0, Math.trunc(Number(query.get(name))) || 0);
  const generation = query.has("generation") ? count("generation") : -1;
  return run === null ? null : run.news({ generation, logs: count("logs"), version: query.get("version") ?? "" });
}

function same(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
