// The table of what drivers' compilers make of kernels, from the lines of bench/results.jsonl that `npm run bench -- isa` wrote.

import { briefly, type IsaRow, sharesOf } from "../bench/isa.ts";
import { markdownTable } from "../src/text/tables.ts";
import { cell } from "./markdown.ts";

/** Whether a line is of a compiled kernel, and not of something timed. */
export const isIsaRow = (row: object): row is IsaRow => "loops" in row;

/** The newest rows of each adapter: kernels with loops of multiply-adds, and how many others there are. */
export function isaTable(jsonl: string): string {
  const all = jsonl
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as object)
    .filter(isIsaRow);
  if (all.length === 0) return "Nothing was compiled yet.";
  const cells: (string | number)[][] = [];
  for (const adapter of new Set(all.map((row) => row.adapter))) {
    const of = all.filter((row) => row.adapter === adapter);
    const newest = of.filter(({ commit }) => commit === of[of.length - 1].commit);
    const looped = newest.filter(({ loops }) => loops.length > 0);
    const rest = newest.length - looped.length;
    const spilled = newest.filter((row) => row.spilled > 0).length;
    const title = `**${cell(adapter)}**, ${newest[0].commit}: ${newest.length} kernels, ${rest} without such a loop, ${spilled} that spill`;
    cells.push([title, "", "", "", "", "", ""]);
    const order = (row: IsaRow) => (row.kernel === "matmulRows" ? 1 : 0);
    for (const row of [...looped].sort((x, y) => order(x) - order(y))) {
      const { family, kernel, vgprs, spilled: spills, waves } = row;
      cells.push([`${family}: ${kernel}`, vgprs, spills, waves, row.lds, sharesOf(row), cell(briefly(row.variant))]);
    }
  }
  const headings = ["kernel", "VGPRs", "spilled", "waves", "LDS", "FMA share of loops", "variant"];
  return markdownTable(
    headings.map((heading, i) => ({ heading, align: i > 0 && i < 5 ? "right" : "left" })),
    cells,
  );
}
