import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { built } from "../browser/dist.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const folders = new Map<string, Promise<string>>();

/**
 * The command line as published, built once for each run of the suite. It starts in a third of the processor time that the
 * sources under tsx need.
 *
 * @returns path of `dist/cli.js`, in a folder with the files of a package
 */
export async function builtCli(): Promise<string> {
  return join(await builtPackage("cli"), "dist/cli.js");
}

/** A folder with the files of the package and some of its bundles, each built once for each run of the suite. */
export function builtPackage(...bundles: string[]): Promise<string> {
  const key = bundles.join();
  let folder = folders.get(key);
  if (!folder) folders.set(key, (folder = write(bundles)));
  return folder;
}

async function write(bundles: string[]): Promise<string> {
  // tests/setup.ts removes the folder of the run
  const folder = mkdtempSync(join(process.env.QWENCH_TEST_RUN ?? tmpdir(), "package-"));
  for (const name of ["assets", "recipes", "node_modules", "package.json"])
    symlinkSync(join(ROOT, name), join(folder, name));
  for (const [name, content] of await built(...bundles)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  return folder;
}
