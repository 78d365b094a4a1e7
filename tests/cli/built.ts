import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { built } from "../browser/dist.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

let here: Promise<string> | undefined;

/**
 * The command line as published, built once for each run of the suite. It starts in a third of the processor time that the
 * sources under tsx need.
 *
 * @returns path of `dist/cli.js`, in a folder with the files of a package
 */
export function builtCli(): Promise<string> {
  here ??= build();
  return here;
}

async function build(): Promise<string> {
  // tests/setup.ts removes the folder of the run
  const folder = mkdtempSync(join(process.env.QWENCH_TEST_RUN ?? tmpdir(), "cli-"));
  for (const name of ["assets", "recipes", "node_modules", "package.json"])
    symlinkSync(join(ROOT, name), join(folder, name));
  for (const [name, content] of await built("cli")) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  return join(folder, "dist/cli.js");
}
