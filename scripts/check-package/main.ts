// `npm run check:package`: packs, and tries the tarball as users do: package managers × entries × runtimes, types, bundlers in Chromium,
// odd places. Needs the npm registry; some twenty minutes on two cores. `-- install types …` tries only those parts.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkBundlers } from "./bundlers.ts";
import { checkEntries, checkPrograms, checkTypes, lint } from "./entries.ts";
import { fromGit, fromTarball, installAll } from "./install.ts";
import { packPackage } from "./pack.ts";
import { checkPlaces } from "./places.ts";
import { type Result, renderResults } from "./run.ts";
import { installTools } from "./tools.ts";

const PARTS = ["lint", "install", "git", "types", "bundlers", "places"];

async function main(asked: readonly string[]): Promise<number> {
  const unknown = asked.filter((part) => !PARTS.includes(part));
  if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(", ")}: ${PARTS.join(", ")}`);
  const wanted = (part: string) => asked.length === 0 || asked.includes(part);
  const folder = mkdtempSync(join(tmpdir(), "qwench-check-"));
  const results: Result[] = [];
  try {
    const tools = await installTools();
    const { tarball } = packPackage(join(folder, "pack"));
    if (wanted("lint")) results.push(...(await lint(tarball, tools)));
    if (wanted("install") || wanted("types")) {
      const [projects, installed] = await installAll(fromTarball(tarball, tools), folder);
      results.push(...installed);
      if (wanted("install")) {
        results.push(...(await checkEntries(projects, tools)), ...(await checkPrograms(projects[0], tools)));
      }
      if (wanted("types")) results.push(...(await checkTypes(projects, tools)));
    }
    if (wanted("git")) {
      const [projects, installed] = await installAll(fromGit(folder, tools), folder);
      results.push(...installed, ...(await checkEntries(projects, tools)));
    }
    if (wanted("bundlers")) results.push(...(await checkBundlers(tarball, folder)));
    if (wanted("places")) results.push(...(await checkPlaces(tarball, folder)));
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  console.log(renderResults(results));
  const failed = results.filter(({ ok }) => !ok).length;
  console.log(`\n${results.length - failed} ok, ${failed} failed`);
  return failed === 0 && results.length > 0 ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
