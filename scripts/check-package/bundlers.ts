import { spawn } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { readSite, serve } from "../../tests/browser/site.ts";
import { ROOT } from "./pack.ts";
import { whatPageSays } from "./page.ts";
import { type Result, run, tryTo } from "./run.ts";

const BUNDLERS = ["vite", "webpack", "esbuild", "bun"];

/** Builds and serves the pages of examples/bundlers with each bundler, and opens them in Chromium. */
export async function checkBundlers(tarball: string, folder: string): Promise<Result[]> {
  const site = join(folder, "bundlers");
  cpSync(join(ROOT, "examples/bundlers"), site, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(site, "package.json"), "utf8"));
  manifest.dependencies.qwench = `file:${tarball}`;
  writeFileSync(join(site, "package.json"), JSON.stringify(manifest));
  await run("npm", ["install"], { cwd: site });
  const results: Result[] = [];
  const check = async (row: string, column: string, say: () => Promise<string>) => {
    const work = async () => {
      const said = await say();
      if (!/^It computes on .*swiftshader/i.test(said)) throw new Error(said);
      return "ok";
    };
    results.push(await tryTo({ table: "bundler × mode", row, column }, work));
  };
  for (const name of BUNDLERS) {
    await check(name, "build", async () => {
      await run("npm", ["run", name], { cwd: site });
      const served = await serve(readSite(join(site, "dist", name)), { policy: null });
      return whatPageSays(served.url).finally(() => served.close());
    });
    await check(name, "dev server", () => withDevServer(site, name, whatPageSays));
  }
  return results;
}

/** Runs a dev server on a free port during `use`. */
async function withDevServer<T>(cwd: string, name: string, use: (url: string) => Promise<T>): Promise<T> {
  const port = await freePort();
  const env = { ...process.env, PORT: String(port) };
  // its own process group, so that npm's children end with it
  const server = spawn("npm", ["run", `${name}:dev`], { cwd, env, stdio: "ignore", detached: true });
  try {
    const url = `http://localhost:${port}/`;
    for (let tries = 0; ; tries++) {
      const answer = await fetch(url).catch(() => null);
      if (answer?.ok) return await use(url);
      if (tries > 240) throw new Error(`npm run ${name}:dev does not serve ${url}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  } finally {
    if (server.pid) process.kill(-server.pid, "SIGKILL");
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
