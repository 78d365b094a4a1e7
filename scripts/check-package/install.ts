import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { copySources } from "./pack.ts";
import { type Result, run, tryTo } from "./run.ts";
import type { Tools } from "./tools.ts";

/** A project with the installed package. */
export interface Project {
  /** the package manager and the source */
  name: string;
  folder: string;
  /** command with which the manager runs a program of the project */
  exec: readonly string[];
}

interface Way {
  name: string;
  exec: readonly string[];
  install(cwd: string): Promise<unknown>;
}

/** How the package is installed from its tarball. */
export function fromTarball(tarball: string, tools: Tools): Way[] {
  const [pnpm, bun] = [tools.bin("pnpm"), tools.bin("bun")];
  return [
    { name: "npm", exec: ["npx"], install: (cwd) => run("npm", ["install", tarball], { cwd }) },
    {
      name: "pnpm",
      exec: [pnpm, "exec"],
      // pnpm fails on install scripts that are neither allowed nor refused, such as Dawn's, which only matters on macOS
      install: (cwd) => run(pnpm, ["add", "--allow-build=webgpu", tarball], { cwd }),
    },
    { name: "Bun", exec: [bun, "x"], install: (cwd) => run(bun, ["add", tarball], { cwd }) },
  ];
}

/** How the package is installed from a git address, of a repository created in `folder`. */
export function fromGit(folder: string, tools: Tools): Way[] {
  const [pnpm, bun] = [tools.bin("pnpm"), tools.bin("bun")];
  const { address, id } = gitRepository(join(folder, "git"));
  return [
    { name: "npm, git", exec: ["npx"], install: (cwd) => run("npm", ["install", address], { cwd }) },
    {
      name: "pnpm, git",
      exec: [pnpm, "exec"],
      async install(cwd) {
        writeFileSync(join(cwd, "pnpm-workspace.yaml"), `allowBuilds:\n  webgpu: true\n  qwench@${id}: true\n`);
        await run(pnpm, ["add", address], { cwd });
      },
    },
    {
      name: "Bun, git, by npm pack", // Bun does not install devDependencies from a git address, so it cannot build the package
      exec: [bun, "x"],
      async install(cwd) {
        await run("npm", ["pack", address], { cwd });
        const packed = readdirSync(cwd).find((name) => name.endsWith(".tgz"))!;
        await run(bun, ["add", `./${packed}`], { cwd });
      },
    },
  ];
}

/** Installs the package into empty folders. @returns the successful projects, and all results */
export async function installAll(ways: readonly Way[], folder: string): Promise<[Project[], Result[]]> {
  const projects: Project[] = [];
  const results: Result[] = [];
  for (const [i, way] of ways.entries()) {
    const project = { name: way.name, folder: mkdtempSync(join(folder, `project-${i}-`)), exec: way.exec };
    writeFileSync(join(project.folder, "package.json"), '{"private": true, "type": "module"}');
    const cell = { table: "package manager × install", row: way.name, column: "installed" };
    const result = await tryTo(cell, async () => {
      await way.install(project.folder);
      return `${Math.round(sizeOf(join(project.folder, "node_modules")) / 1e6)} MB`;
    });
    results.push(result);
    if (result.ok) projects.push(project);
  }
  return [projects, results];
}

/** A repository with the sources as its only commit. @returns its address, and pnpm's name of that commit */
function gitRepository(folder: string): { address: string; id: string } {
  copySources(folder);
  rmSync(join(folder, "node_modules"));
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=check", "-c", "user.email=check@localhost", ...args], {
      cwd: folder,
      encoding: "utf8",
    });
  git("init", "-q");
  git("add", "-A");
  git("commit", "-q", "-m", "sources");
  const address = `git+${pathToFileURL(folder).href}`;
  return { address, id: `${address}#${git("rev-parse", "HEAD").trim()}` };
}

/** Bytes of the files below a folder, without links. */
function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
