import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { deserialize, serialize } from "node:v8";
import type { SiteFiles } from "./site.ts";

/** After which a maker counts as dead, milliseconds: a bundle takes seconds. */
const PATIENCE = 120_000;

/**
 * Files that several test files need, made once a run of the suite: by whoever asks first; the others, each a process of
 * its own, read what it made.
 */
export async function once(name: string, make: () => Promise<SiteFiles>): Promise<SiteFiles> {
  const folder = process.env.QWENCH_TEST_RUN;
  if (!folder) return make();
  const path = join(folder, name.replaceAll(/[^\w.-]/g, "_"));
  try {
    mkdirSync(`${path}.making`); // one of all processes can
  } catch {
    for (const end = performance.now() + PATIENCE; performance.now() < end; await pause(50)) {
      if (existsSync(path)) return deserialize(readFileSync(path));
      if (existsSync(`${path}.failed`)) break;
    }
    return make();
  }
  try {
    const files = await make();
    writeFileSync(`${path}.new`, serialize(files));
    renameSync(`${path}.new`, path);
    return files;
  } catch (error) {
    writeFileSync(`${path}.failed`, "");
    throw error;
  }
}
