import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ROOT } from "./pack.ts";
import { run } from "./run.ts";

/**
 * Versions of the tools for these checks, which are not dependencies of the repository. The oldest Node is that of `engines`.
 */
const TOOLS = {
  "node-20": "npm:node@20.11.1",
  "node-22": "npm:node@22.23.3",
  "node-24": "npm:node@24.9.0",
  bun: "1.4.5",
  pnpm: "12.21.0",
  publint: "0.3.25",
  "@arethetypeswrong/cli": "0.18.5",
  "typescript-5.9": "npm:typescript@5.9.3",
  "typescript-6.0": "npm:typescript@6.0.3",
  "typescript-7.0": "npm:typescript@7.0.2",
};

export interface Tools {
  /** how each runtime runs a script, by its name in the table */
  runtimes: Record<string, readonly string[]>;
  /** `tsc` by TypeScript's version */
  compilers: Record<string, string>;
  /** a tool's executable by name */
  bin(name: string): string;
}

/** Installs the tools from npm, once: 700 MB. */
export async function installTools(): Promise<Tools> {
  const folder = join(ROOT, ".cache/check-package");
  const manifest = JSON.stringify({ private: true, dependencies: TOOLS });
  const file = join(folder, "package.json");
  const done = join(folder, "done");
  if (!existsSync(done) || readFileSync(done, "utf8") !== manifest) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, manifest);
    console.error("Installing the tools …");
    await run("npm", ["install", "--no-package-lock"], { cwd: folder });
    writeFileSync(done, manifest);
  }
  const bin = (name: string) => join(folder, "node_modules/.bin", name);
  const node = (major: number) => join(folder, `node_modules/node-${major}/bin/node`);
  const deno = join(dirname(createRequire(import.meta.url).resolve("deno/package.json")), "../.bin/deno");
  const compiler = (version: string) => join(folder, `node_modules/typescript-${version}/bin/tsc`);
  return {
    runtimes: {
      "Node 20.11.1": [node(20)],
      "Node 22": [node(22)],
      "Node 24": [node(24)],
      Deno: [deno, "run", "-A"],
      Bun: [bin("bun"), "run"],
    },
    compilers: Object.fromEntries(["5.9", "6.0", "7.0"].map((version) => [version, compiler(version)])),
    bin,
  };
}
