// `npm run check:package`: packs the package and tests the tarball like a user: package managers × entries × runtimes, types,
// bundlers in Chromium, unusual environments. Needs the npm registry and about twenty minutes on two cores. `-- install types
// …` runs only those parts; `--write` writes their tables into README.md beside this file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkBundlers } from "./bundlers.ts";
import { checkEntries, checkPrograms, checkTypes, lint } from "./entries.ts";
import { fromGit, fromTarball, installAll } from "./install.ts";
import { packPackage } from "./pack.ts";
import { checkPlaces } from "./places.ts";
import { type Result, renderResults } from "./run.ts";
import { installTools, type Tools } from "./tools.ts";

type Part = (tarball: string, folder: string, tools: Tools) => Promise<Result[]>;

const PARTS: Record<string, Part> = {
  lint: (tarball, _, tools) => lint(tarball, tools),
  async install(tarball, folder, tools) {
    const [projects, installed] = await installAll(fromTarball(tarball, tools), folder);
    return [...installed, ...(await checkEntries(projects, tools)), ...(await checkPrograms(projects, tools))];
  },
  async git(_, folder, tools) {
    const [projects, installed] = await installAll(fromGit(folder, tools), folder);
    return [...installed, ...(await checkEntries(projects, tools))];
  },
  async types(tarball, folder, tools) {
    const [projects, installed] = await installAll(fromTarball(tarball, tools), folder);
    return [...installed.filter(({ ok }) => !ok), ...(await checkTypes(projects, tools))];
  },
  bundlers: checkBundlers,
  places: checkPlaces,
};
const README = fileURLToPath(new URL("README.md", import.meta.url));

async function main(args: readonly string[]): Promise<number> {
  const asked = args.filter((arg) => arg !== "--write");
  const unknown = asked.filter((part) => !Object.hasOwn(PARTS, part));
  if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(", ")}: ${Object.keys(PARTS).join(", ")}`);
  const folder = mkdtempSync(join(tmpdir(), "qwench-check-"));
  const all: Result[] = [];
  try {
    const tools = await installTools();
    const { tarball } = packPackage(join(folder, "pack"));
    for (const part of asked.length > 0 ? asked : Object.keys(PARTS)) {
      const results = await PARTS[part](tarball, folder, tools);
      all.push(...results);
      if (args.includes("--write")) write(part, renderResults(results));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  console.log(renderResults(all));
  const failed = all.filter(({ ok }) => !ok).length;
  console.log(`\n${all.length - failed} ok, ${failed} failed`);
  return failed === 0 && all.length > 0 ? 0 : 1;
}

function write(part: string, tables: string): void {
  const [begin, end] = [`<!-- ${part} -->`, `<!-- /${part} -->`];
  const [head, rest] = readFileSync(README, "utf8").split(begin);
  const tail = rest?.split(end)[1];
  if (tail === undefined) throw new Error(`README.md has no ${begin} … ${end}`);
  writeFileSync(README, `${head}${begin}\n${tables}\n${end}${tail}`);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
