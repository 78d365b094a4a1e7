// The table of compiled kernels, from the lines that `npm run bench -- isa` writes to bench/results.jsonl.

import { briefly, type IsaRow, sharesOf } from "../bench/isa.ts";
import { markdownTable } from "../src/text/tables.ts";
import { cell } from "./markdown.ts";

/** Whether a line describes a compiled kernel, not a measurement of time. */
export const isIsaRow = (row: object): row is IsaRow => "loops" in row;

/** The newest rows of each adapter: kernels with multiply-add loops, and the number of other kernels. */
export function isaTable(jsonl: string): string {
  const all = jsonl
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as object)
    .filter(isIsaRow);
  if (all.length === 0) return "There are no compiled kernels yet.";
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
