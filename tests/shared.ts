import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Results of transformers, PEFT and TRL, stored in the repository: every test may use them. */
export const GOLDEN = join(import.meta.dirname, "golden");

const shared = process.env.QWENCH_SHARED ?? join(import.meta.dirname, "../../shared");

/**
 * Path of public data, or of more golden numbers, in the folder that QWENCH_SHARED names; null if it is absent. A test
 * that needs it uses `it.skipIf`, so that it counts as skipped and not as passed.
 */
export function sharedPath(path: string): string | null {
  const file = join(shared, path);
  return existsSync(file) ? file : null;
}

/** Text of a file of `sharedPath`; null if it is absent. */
export function sharedText(path: string): string | null {
  const file = sharedPath(path);
  return file === null ? null : readFileSync(file, "utf8");
}

/** Rows of a JSONL file of `sharedPath`; null if it is absent. */
// biome-ignore lint/suspicious/noExplicitAny: rows of several formats
export function sharedRows(path: string): any[] | null {
  return (
    sharedText(path)
      ?.split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line)) ?? null
  );
}
