// Compares the text that Qwench reads from documents with that of other programs, word by word in order: PDF with pdftotext
// (of poppler-utils, with and without -layout), HTML and DOCX with pandoc. `npx tsx scripts/compare-documents.ts FILE…` prints a
// table, and ends with 1 if a PDF has less than 95 %, or another file less than 98 %, of the other program's words in order.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, extname } from "node:path";
import { joinPages } from "../src/data/documents/document.ts";
import { readDocument } from "../src/data/documents/read.ts";
import { renderTable } from "../src/text/tables.ts";

const LEAST = { pdf: 95, other: 98 };
/** Most words that are left out on both sides together before the texts agree again, and the words that must agree then. */
const REACH = 1500;
const AGREE = 3;

const wordsOf = (text: string) =>
  text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/(\p{L})[-\u2010]\n\s*(?=\p{L})/gu, "$1")
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Share of `wanted` that is in `found` in the same order, in percent. After a difference, the nearest place where both agree counts. */
function inOrder(found: readonly string[], wanted: readonly string[]): number {
  let [at, i, kept] = [0, 0, 0];
  while (i < wanted.length && at < found.length) {
    if (found[at] === wanted[i]) {
      at++;
      i++;
      kept++;
      continue;
    }
    const [more, less] = nextAgreement(found, at, wanted, i);
    at += more;
    i += less;
  }
  return (100 * kept) / Math.max(1, wanted.length);
}

function nextAgreement(found: readonly string[], at: number, wanted: readonly string[], i: number): [number, number] {
  for (let reach = 1; reach <= REACH; reach++) {
    for (let more = 0; more <= reach; more++) {
      const less = reach - more;
      let same = 0;
      while (
        same < AGREE &&
        found[at + more + same] !== undefined &&
        found[at + more + same] === wanted[i + less + same]
      )
        same++;
      if (same === AGREE || (same > 0 && at + more + same === found.length && i + less + same === wanted.length))
        return [more, less];
    }
  }
  return [1, 1];
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
      ? [run("pdftotext", ["-layout", file, "-"]), run("pdftotext", [file, "-"])]
      : [plainOf(run("pandoc", ["-t", "html", "--wrap=none", file]))];
  const shares = others.map((text) => inOrder(own, wordsOf(text)));
  const best = Math.max(...shares);
  const good = best >= (kind === ".pdf" ? LEAST.pdf : LEAST.other);
  if (!good) failed++;
  rows.push([
    basename(file),
    own.length,
    wordsOf(others[0]).length,
    ...[0, 1].map((i) => shares[i]?.toFixed(2) ?? ""),
    seconds.toFixed(1),
    good ? "ok" : "LESS",
  ]);
}
const headings = ["document", "words", "theirs", "in order, %", "without -layout", "seconds", "verdict"];
console.log(
  renderTable(
    headings.map((heading, i) => ({ heading, align: i === 0 || i === 6 ? ("left" as const) : ("right" as const) })),
    rows,
    160,
  ),
);
process.exit(failed > 0 ? 1 : 0);
