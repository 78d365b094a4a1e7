import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { CodeTask } from "../../../src/rewards/code/tests.ts";
import { testsOf } from "../../../src/rewards/code/tests.ts";
import { lcg } from "../../../src/text/hash.ts";
import { sharedPath } from "../../shared.ts";

/** A problem with a program that solves it, and one that returns None instead. */
export interface Problem {
  id: string;
  solved: CodeTask;
  mutated: CodeTask;
}

function rowsOf(name: string): Record<string, string>[] | null {
  const path = sharedPath(`data/${name}`);
  if (!path) return null;
  const bytes = readFileSync(path);
  const text = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** HumanEval's 164 problems; null if not available. */
export function humanEval(): Problem[] | null {
  const rows = rowsOf("humaneval/HumanEval.jsonl.gz");
  if (!rows) return null;
  return rows.map((row) => ({
    id: row.task_id,
    solved: { ...testsOf(row), code: row.prompt + row.canonical_solution },
    mutated: { ...testsOf(row), code: `${row.prompt}    return None\n` },
  }));
}

/** MBPP's problems that `pick` selects by index; null if not available. */
export function mbpp(pick: (index: number) => boolean): Problem[] | null {
  const rows = rowsOf("mbpp/mbpp.jsonl");
  if (!rows) return null;
  return rows
    .filter((_, index) => pick(index))
    .map((row) => {
      // every function of the program is replaced, because the tests may call it inside others
      const names = [...row.code.matchAll(/^def\s+(\w+)/gm)].map(([, name]) => name);
      const none = names.map((name) => `def ${name}(*_, **__):\n    return None\n`).join("");
      return {
        id: `MBPP/${row.task_id}`,
        solved: { ...testsOf(row), code: row.code },
        mutated: { ...testsOf(row), code: `${row.code}\n${none}` },
      };
    });
}

/** `count` reproducible indices below `of`. */
export function sample(count: number, of: number): Set<number> {
  const all = Array.from({ length: of }, (_, i) => i);
  const next = lcg(20240501);
  for (let i = of - 1; i > 0; i--) {
    const other = Math.floor((next() / 2 ** 32) * (i + 1));
    [all[i], all[other]] = [all[other], all[i]];
  }
  return new Set(all.slice(0, count));
}
