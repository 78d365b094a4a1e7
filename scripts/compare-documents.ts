// Compares the text that Qwench reads from documents with that of other programs, word by word in order: PDF with pdftotext
// (of poppler-utils: with -layout, which keeps lines and so mixes columns; without, which guesses the order; and with -raw, the
// file's order), HTML and DOCX with pandoc. `npx tsx scripts/compare-documents.ts FILE…` prints a
// table, and ends with 1 if a PDF has less than 95 %, or another file less than 98 %, of the other program's words in order.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import { joinPages } from "../src/data/documents/document.ts";
import { readDocument } from "../src/data/documents/read.ts";
import { renderTable } from "../src/text/tables.ts";

const LEAST = { pdf: 95, other: 98 };
const folder = mkdtempSync(join(tmpdir(), "qwench-compare-"));

const wordsOf = (text: string) =>
  text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/(\p{L})[-\u2010]\n\s*(?=\p{L})/gu, "$1")
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/**
 * Share of `wanted` that is in `found` in the same order, in percent: their longest common subsequence, by `diff`. What `found` has
 * beside it does not count: pandoc leaves out nested tables, for example.
 */
function inOrder(found: readonly string[], wanted: readonly string[]): number {
  const [ours, theirs] = [found, wanted].map((words, i) => {
    const path = join(folder, String(i));
    writeFileSync(path, words.map((word) => `${word}\n`).join(""));
    return path;
  });
  const { stdout, status } = spawnSync("diff", ["--minimal", ours, theirs], { encoding: "utf8", maxBuffer: 1 << 28 });
  if (status === null || status > 1) throw new Error("diff failed");
  const missing = stdout.match(/^>/gm)?.length ?? 0;
  return (100 * (wanted.length - missing)) / Math.max(1, wanted.length);
}

function run(file: string, args: string[]): string {
  return execFileSync(file, args, { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] });
}

/** The words of pandoc's HTML. Its plain text draws tables, whose columns it mixes line by line. */
function plainOf(html: string): string {
  return html
    .replace(/<sup>\d+<\/sup>/g, "") // marks of footnotes
    .replace(/<(\/?(p|div|td|th|tr|li|h\d|br|dt|dd|pre|table|ul|ol|section|figure))\b[^>]*>/g, "\n")
    .replace(/<[^>]*>/g, "")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, "&");
}

const rows: (string | number)[][] = [];
let failed = 0;
for (const file of process.argv.slice(2)) {
  const kind = extname(file).toLowerCase();
  const began = performance.now();
  const read = await readDocument(new Uint8Array(readFileSync(file)), file);
  const seconds = (performance.now() - began) / 1000;
  const own = wordsOf(joinPages(read.pages).text);
  const others =
    kind === ".pdf"
      ? ["-layout", "-nopgbrk", "-raw"].map((mode) => run("pdftotext", [mode, file, "-"]))
      : [plainOf(run("pandoc", ["-t", "html", "--wrap=none", file]))];
  const shares = others.map((text) => inOrder(own, wordsOf(text)));
  const best = Math.max(...shares);
  const good = best >= (kind === ".pdf" ? LEAST.pdf : LEAST.other);
  if (!good) failed++;
  rows.push([
    basename(file),
    own.length,
    wordsOf(others[0]).length,
    ...[0, 1, 2].map((i) => shares[i]?.toFixed(2) ?? ""),
    seconds.toFixed(1),
    good ? "ok" : "LESS",
  ]);
}
const headings = ["document", "words", "theirs", "in order, %", "no mode, %", "-raw, %", "seconds", "verdict"];
console.log(
  renderTable(
    headings.map((heading, i) => ({ heading, align: i === 0 || i === 7 ? ("left" as const) : ("right" as const) })),
    rows,
    160,
  ),
);
rmSync(folder, { recursive: true });
process.exit(failed > 0 ? 1 : 0);
