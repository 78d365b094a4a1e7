import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { packPackage, ROOT } from "../../scripts/check-package/pack.ts";

interface Manifest {
  version: string;
  exports: Record<string, string | Record<string, string>>;
  bin: Record<string, string>;
  dependencies: Record<string, string>;
}

export const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));

/**
 * A project with the package as users get it: the tarball, packed once for a test file from a copy of the sources, with
 * its dependencies and no others. Call at the top of the file.
 */
export function useInstalled() {
  const temporary = mkdtempSync(join(tmpdir(), "qwench-tarball-"));
  const project = join(temporary, "project");
  const installed = join(project, "node_modules/qwench");
  let files: ReadonlySet<string>;
  let manifest: Manifest;

  beforeAll(() => {
    const { folder } = packPackage(join(temporary, "pack"));
    files = new Set(filesBelow(folder));
    manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    cpSync(folder, installed, { recursive: true });
    for (const name of Object.keys(manifest.dependencies)) {
      const link = join(project, "node_modules", name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(ROOT, "node_modules", name), link);
    }
    writeFileSync(join(project, "package.json"), '{"type": "module"}');
  });
  afterAll(() => rmSync(temporary, { recursive: true, force: true }));

  /** Runs Node in the project. @returns stdout @throws with what it wrote, when it fails */
  const node = (...args: string[]): string => {
    try {
      return execFileSync(process.execPath, args, {
        cwd: project,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      });
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string };
      throw new Error(`node ${args.join(" ")}: ${stdout ?? ""}${stderr ?? error}`);
    }
  };
  /** what programs import, as in `./client` */
  const entries = () => Object.keys(manifest.exports).filter((name) => !name.endsWith(".json"));
  return { project, installed, files: () => files, manifest: () => manifest, entries, node };
}
