import { lstatSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { QwenchError } from "../../errors.ts";

type Env = Record<string, string | undefined>;

/** The user's home, or null: in a container the user may have no entry. */
export function homeFolder(env: Env = process.env, ofSystem: () => string = homedir): string | null {
  try {
    return env.HOME || ofSystem();
  } catch {
    return null;
  }
}

/** The usual folder of Qwench's caches, `$XDG_CACHE_HOME/qwench` or `~/.cache/qwench`, writable or not; null without a home. */
export function usualCache(env: Env = process.env): string | null {
  const home = homeFolder(env);
  const parent = env.XDG_CACHE_HOME || (home && join(home, ".cache"));
  return parent ? join(parent, "qwench") : null;
}

/**
 * A cache folder that is writable and belongs to the user, because Qwench loads libraries from it: the usual folder, else a
 * private folder in the temporary folder.
 *
 * @throws {QwenchError} if neither is possible
 */
export function writableCache(env: Env = process.env): string {
  const usual = usualCache(env);
  try {
    if (usual === null) throw new Error("there is no home");
    mkdirSync(usual, { recursive: true });
    rmSync(mkdtempSync(join(usual, "probe.")), { recursive: true });
    return usual;
  } catch {
    const owner = process.getuid?.() ?? 0;
    const temporary = join(tmpdir(), `qwench-${owner}`);
    mkdirSync(temporary, { recursive: true, mode: 0o700 });
    const found = lstatSync(temporary);
    if (found.isDirectory() && found.uid === owner && (found.mode & 0o022) === 0) return temporary;
    const reason = usual === null ? "there is no home" : `${usual} cannot be written`;
    throw new QwenchError(`Cannot keep files: ${reason}, and ${temporary} belongs to another user`);
  }
}
