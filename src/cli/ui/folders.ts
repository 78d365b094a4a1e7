import { readdir } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import { runFile } from "../../session/run-file.ts";
import { metricsFile } from "../../session/run-log.ts";
import { RunReader } from "./reader.ts";

/** How far below a given folder runs are looked for, and in how many folders. */
const DEPTH = 3;
const MOST_FOLDERS = 2000;
/** Milliseconds for which a list of runs is used again. */
const FRESH_MS = 2000;
/** Folders within runs and programs, which hold none. */
const SKIPPED = /^(\.|checkpoint-|completions$|node_modules$|wandb$|runs$)/;

/** The runs in some folders: each is a run's own folder, or has runs below it. New ones appear while they are watched. */
export class RunFolders {
  private readonly roots: readonly string[];
  private readonly readers = new Map<string, RunReader>();
  private found: { at: number; runs: RunReader[] } | null = null;

  constructor(roots: readonly string[]) {
    this.roots = roots.map((root) => resolve(root));
  }

  /** The runs, in the order of the folders. */
  async runs(): Promise<RunReader[]> {
    if (this.found && Date.now() - this.found.at < FRESH_MS) return this.found.runs;
    const paths: { path: string; root: string }[] = [];
    for (const root of this.roots) {
      let left = MOST_FOLDERS;
      const visit = async (path: string, depth: number): Promise<void> => {
        if (left-- <= 0) return;
        const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
        if (entries.some((entry) => entry.isFile() && [metricsFile, runFile].includes(entry.name)))
          paths.push({ path, root });
        if (depth >= DEPTH) return;
        for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
          if (entry.isDirectory() && !SKIPPED.test(entry.name)) await visit(join(path, entry.name), depth + 1);
        }
      };
      await visit(root, 0);
    }
    const runs = paths.map(({ path, root }) => {
      const known = this.readers.get(path);
      if (known) return known;
      const reader = new RunReader(`run-${this.readers.size + 1}`, path, nameOf(path, root));
      this.readers.set(path, reader);
      return reader;
    });
    this.found = { at: Date.now(), runs: [...new Set(runs)] };
    return this.found.runs;
  }

  /** The run with an id; null: there is none. */
  async run(id: string): Promise<RunReader | null> {
    return (await this.runs()).find((reader) => reader.id === id) ?? null;
  }
}

/** The path below the folder that was given, else the folder's own name. */
function nameOf(path: string, root: string): string {
  return relative(root, path).replaceAll("\\", "/") || basename(path);
}
