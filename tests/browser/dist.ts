import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";
import { once } from "./once.ts";
import type { SiteFiles } from "./site.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What `vite build --mode …` makes of a mode, by its path in the package. Writes nothing. */
export async function built(...modes: string[]): Promise<SiteFiles> {
  const files: SiteFiles = new Map();
  for (const mode of modes) {
    for (const [name, content] of await once(`mode ${mode}`, () => buildMode(mode))) files.set(name, content);
  }
  return files;
}

async function buildMode(mode: string): Promise<SiteFiles> {
  const files: SiteFiles = new Map();
  const made = await build({ root: ROOT, mode, logLevel: "warn", build: { write: false } });
  for (const { output } of [made].flat() as Rolldown.RolldownOutput[]) {
    for (const item of output) files.set(`dist/${item.fileName}`, item.type === "chunk" ? item.code : item.source);
  }
  return files;
}

/** The address of an entry of the package, from its folder: `dist/client.js` for `./client`. */
export function entry(name: string): string {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const { default: path } = exports[name];
  return path.replace(/^\.\//, "");
}
