import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Files that are not sources: installed, built or written by runs. */
const NOT_SOURCE = /^(node_modules|dist|dist-demo|\.git|\.gpu|\.cache|checkpoints|qwench-[^/]*|.*\.(tgz|log))$/;

/** Copies the sources like a fresh clone. The packages are linked, not copied. */
export function copySources(to: string): void {
  cpSync(ROOT, to, { recursive: true, filter: (path) => !NOT_SOURCE.test(relative(ROOT, path)) });
  symlinkSync(join(ROOT, "node_modules"), join(to, "node_modules"));
}

/**
 * Runs `npm pack` in a copy of the sources, so that the tree's own dist/ has no influence.
 *
 * @returns the tarball, and the folder of the package as npm installs it, without its dependencies
 */
export function packPackage(folder: string = mkdtempSync(join(tmpdir(), "qwench-package-"))): {
  tarball: string;
  folder: string;
} {
  const clone = join(folder, "clone");
  const packed = join(folder, "packed");
  copySources(clone);
  mkdirSync(packed);
  run(process.platform === "win32" ? "npm.cmd" : "npm", ["pack", "--pack-destination", packed], clone);
  const tarball = join(packed, readdirSync(packed).find((name) => name.endsWith(".tgz"))!);
  run("tar", ["-xzf", tarball, "-C", packed], packed);
  return { tarball, folder: join(packed, "package") };
}

/** Runs a program to its end. @returns its output @throws with the output if it fails */
function run(program: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(" ")} failed:\n${stdout ?? ""}${stderr ?? error}`);
  }
}
