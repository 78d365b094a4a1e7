import { readFileSync } from "node:fs";

/** Rows of a JSONL file of the public data that tests may find beside the repository; null, said aloud, where it is absent. */
export function sharedRows(name: string): Record<string, unknown>[] | null {
  const path = `${process.env.QWENCH_SHARED ?? "../shared"}/data/${name}`;
  try {
    return readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  } catch {
    console.warn(`${path} is absent: its rows were not graded`);
    return null;
  }
}
