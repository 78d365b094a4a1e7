// The table of measurements, from the lines of bench/results.jsonl.
import { cell } from "./markdown.ts";

/** What of a line of bench/results.jsonl the table shows; see bench/rows.ts. */
interface ResultRow {
  commit: string;
  adapter: string;
  what: string;
  shape: string;
  dtype: string;
  median_ms: number;
  spread: number;
  gflops: number | null;
  tokens_per_s?: number;
  ratio: number | null;
  against: string | null;
  least?: number;
  most?: number;
  met?: boolean;
  peers?: Record<string, number>;
  x?: number;
}

/**
 * The newest rows of each thing measured on each adapter, in Markdown: those that a limit is set for first. Of one thing at
 * several shapes those of the newest commit count. Values by size are in bench/scale.md.
 */
export function resultsTable(jsonl: string): string {
  const all = jsonl
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ResultRow)
    .filter(({ what, x }) => x === undefined && (!what.startsWith("scale by") || what.includes("exponent")));
  const limited = ({ met }: ResultRow) => met !== undefined;
  const thing = (row: ResultRow) => `${row.adapter}|${row.what}|${limited(row)}`;
  const newest = new Map(all.map((row) => [thing(row), row.commit]));
  const rows = new Map<string, ResultRow>();
  for (const row of all) {
    if (row.commit === newest.get(thing(row))) rows.set([thing(row), row.shape, row.dtype].join("|"), row);
  }
  if (rows.size === 0) return "Nothing was measured yet.";
  const peers = [...new Set([...rows.values()].flatMap(({ peers }) => Object.keys(peers ?? {})))];
  const headings = ["what", "shape", "dtype", "ms", "± %", "GFLOP/s", "tokens/s", "ratio", "of", "asked", "met"];
  const columns = [...headings, ...peers.map((name) => `÷ ${name}`), "commit"];
  const right = new Set(["ms", "± %", "GFLOP/s", "tokens/s", "ratio", ...peers.map((name) => `÷ ${name}`)]);
  const lines = [
    `| ${columns.join(" | ")} |`,
    `|${columns.map((name) => (right.has(name) ? "--:" : "---")).join("|")}|`,
  ];
  for (const adapter of new Set(all.map((row) => row.adapter))) {
    lines.push(`| **${cell(adapter)}** |${" |".repeat(columns.length - 1)}`);
    const of = [...rows.values()].filter((row) => row.adapter === adapter);
    for (const row of [...of.filter(limited), ...of.filter((row) => !limited(row))]) {
      lines.push(`| ${resultCells(row, peers).join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

function resultCells(row: ResultRow, peers: readonly string[]): (string | number)[] {
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
