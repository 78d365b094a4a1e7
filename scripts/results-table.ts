// The table of measurements, from the lines of bench/results.jsonl.

import type { BenchRow } from "../bench/rows.ts";
import { markdownTable } from "../src/text/tables.ts";
import { isIsaRow } from "./isa-table.ts";
import { cell } from "./markdown.ts";

/**
 * The newest rows of each measurement on each adapter, in Markdown, with those that have a limit first. If a measurement has
 * several shapes, the rows of the newest commit count. Values by size are in bench/scale.md.
 */
export function resultsTable(jsonl: string): string {
  const all = jsonl
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as BenchRow)
    .filter((row) => !isIsaRow(row))
    .filter(({ what, x }) => x === undefined && (!what.startsWith("scale by") || what.includes("exponent")));
  const limited = ({ met }: BenchRow) => met !== undefined;
  const thing = (row: BenchRow) => `${row.adapter}|${row.what}|${limited(row)}`;
  const newest = new Map(all.map((row) => [thing(row), row.commit]));
  const rows = new Map<string, BenchRow>();
  for (const row of all) {
    if (row.commit === newest.get(thing(row))) rows.set([thing(row), row.shape, row.dtype].join("|"), row);
  }
  if (rows.size === 0) return "There are no measurements yet.";
  const peers = [...new Set([...rows.values()].flatMap(({ peers }) => Object.keys(peers ?? {})))];
  const headings = ["what", "shape", "dtype", "ms", "± %", "GFLOP/s", "tokens/s", "ratio", "of", "asked", "met"];
  const columns = [...headings, ...peers.map((name) => `÷ ${name}`), "commit"];
  const right = new Set(["ms", "± %", "GFLOP/s", "tokens/s", "ratio", ...peers.map((name) => `÷ ${name}`)]);
  const cells: (string | number)[][] = [];
  for (const adapter of new Set(all.map((row) => row.adapter))) {
    cells.push([`**${cell(adapter)}**`, ...columns.slice(1).map(() => "")]);
    const of = [...rows.values()].filter((row) => row.adapter === adapter);
    for (const row of [...of.filter(limited), ...of.filter((row) => !limited(row))])
      cells.push(resultCells(row, peers));
  }
  return markdownTable(
    columns.map((heading) => ({ heading, align: right.has(heading) ? "right" : "left" })),
    cells,
  );
}

function resultCells(row: BenchRow, peers: readonly string[]): (string | number)[] {
  const { least, most, met } = row;
  const asked = least !== undefined ? `≥ ${least}` : most !== undefined ? `≤ ${most}` : "";
  return [
    cell(row.what),
    row.shape,
    row.dtype,
    row.median_ms >= 1000 ? Math.round(row.median_ms) : row.median_ms.toPrecision(3),
    Math.round(50 * row.spread),
    row.gflops?.toFixed(1) ?? "",
    row.tokens_per_s === undefined ? "" : Number(row.tokens_per_s.toPrecision(3)),
    row.ratio?.toFixed(2) ?? "",
    row.against ?? "",
    asked,
    met === undefined ? "" : met ? "yes" : "**no**",
    ...peers.map((name) => row.peers?.[name]?.toFixed(2) ?? ""),
    row.commit,
  ];
}
