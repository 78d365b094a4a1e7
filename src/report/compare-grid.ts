import type { DatasetComparison, GridRow } from "../eval/compare/compare.ts";
import { escapeHtml } from "../text/html.ts";
import { counted } from "../text/numbers.ts";
import { bySolvers, shortNames, verdict } from "./compare-text.ts";

/** Problems per band of the overview; twice as many for a large data set. */
const BAND = 100;
const MANY = 500;
/** Tables with more rows start collapsed. */
const OPEN_ROWS = 60;

/** Every problem under every model: an overview as a picture, and the same verdicts as tables. */
export function renderGrid(compared: DatasetComparison): string {
  const { some, all, none } = bySolvers(compared.grid);
  const lost = lostCells(compared);
  return (
    `<h3>Problems</h3>${overview(compared, lost)}` +
    sheet(compared, `Verdicts that differ: ${counted(some.length, "problem")}`, some, lost, some.length <= OPEN_ROWS) +
    sheet(compared, `Solved by all: ${counted(all.length, "problem")}`, all, lost, false) +
    sheet(compared, `Solved by none: ${counted(none.length, "problem")}`, none, lost, false)
  );
}

/** A problem's id and its identifying line. */
export function problemHtml(id: string, line: string): string {
  return `<div><b>${escapeHtml(id)}</b><small>${escapeHtml(line)}</small></div>`;
}

/**
 * The shade of a verdict: not solved, solved by up to half of the completions, by more, by all, or solved before but not now.
 */
type Shade = "v0" | "v1" | "v2" | "v3" | "lost";

const shades: readonly (readonly [shade: Shade, label: string])[] = [
  ["v3", "by all completions"],
  ["v2", "by most"],
  ["v1", "by half or fewer"],
  ["v0", "not solved"],
  ["lost", "solved before, not now"],
];

function shadeOf(row: GridRow, m: number, lost: ReadonlySet<string>, names: readonly string[]): Shade {
  const { n_correct, n_total } = row.verdicts[m];
  if (n_correct === 0) return lost.has(cellKey(names[m], row.id)) ? "lost" : "v0";
  return n_correct === n_total ? "v3" : n_correct * 2 > n_total ? "v2" : "v1";
}

const cellKey = (model: string, id: string) => JSON.stringify([model, id]);

function lostCells({ regressions }: DatasetComparison): Set<string> {
  return new Set(regressions.map(({ model, id }) => cellKey(model, id)));
}

function overview(compared: DatasetComparison, lost: ReadonlySet<string>): string {
  const { grid, models, dataset } = compared;
  const names = models.map(({ name }) => name);
  const total = ({ verdicts }: GridRow) =>
    verdicts.reduce((sum, { n_correct, n_total }) => sum + (n_total === 0 ? 0 : n_correct / n_total), 0);
  const rows = grid
    .map((row) => ({ row, share: total(row) }))
    .sort((a, b) => b.share - a.share)
    .map(({ row }) => row);
  const size = rows.length > MANY ? 2 * BAND : BAND;
  const columns = Math.min(size, rows.length);
  const labels = shortNames(models).map((name, m) => `<li title="${escapeHtml(names[m])}">${escapeHtml(name)}</li>`);
  const used = new Set(rows.flatMap((row) => models.map((_, m) => shadeOf(row, m, lost, names))));
  const bands: string[] = [];
  for (let start = 0; start < rows.length; start += size) {
    const band = rows.slice(start, start + size);
    const paths = shades.map(([shade]) => {
      const cells = band.flatMap((row, p) =>
        models.map((_, m) => (shadeOf(row, m, lost, names) === shade ? `M${p} ${m}h.88v.84h-.88z` : "")),
      );
      return `<path class="cell ${shade}" d="${cells.join("")}"/>`;
    });
    bands.push(
      `<div class="band"><ol>${labels.join("")}</ol>` +
        `<svg viewBox="0 0 ${columns} ${models.length}" preserveAspectRatio="none" aria-hidden="true" ` +
        `style="height:${15 * models.length}px;max-width:${columns * 24}px">${paths.join("")}</svg></div>`,
    );
  }
  const keys = shades
    .filter(([shade]) => used.has(shade))
    .map(([shade, label]) => `<span class="key ${shade}"><i class="swatch"></i>${escapeHtml(label)}</span>`);
  return (
    `<figure class="grid-figure" aria-label="${escapeHtml(`Every problem of ${dataset} under every model, as a picture; the tables below show the same verdicts`)}">` +
    `<figcaption><strong>Every problem, the most solved first</strong><span class="keys">${keys.join("")}</span></figcaption>` +
    `${bands.join("")}</figure>`
  );
}

function sheet(
  { models }: DatasetComparison,
  heading: string,
  rows: readonly GridRow[],
  lost: ReadonlySet<string>,
  open: boolean,
): string {
  if (rows.length === 0) return "";
  const names = models.map(({ name }) => name);
  const heads = shortNames(models).map(
    (name, m) => `<th scope="col" class="cell-text" title="${escapeHtml(names[m])}">${escapeHtml(name)}</th>`,
  );
  const body = rows.map((row) => {
    const cells = row.verdicts.map((own, m) => {
      const shade = shadeOf(row, m, lost, names);
      const was = shade === "lost" ? ` title="solved before"` : "";
      return `<td class="cell-text ${shade}"${was}>${verdict(own)}</td>`;
    });
    const id = row.difficulty === null ? row.id : `${row.id} (${row.difficulty})`;
    return `<tr><th scope="row" class="problem">${problemHtml(id, row.problem)}</th>${cells.join("")}</tr>`;
  });
  return (
    `<details class="sheet"${open ? " open" : ""}><summary>${escapeHtml(heading)}</summary>` +
    `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(heading)}"><table>` +
    `<thead><tr><th scope="col">problem</th>${heads.join("")}</tr></thead><tbody>${body.join("")}</tbody></table></div></details>`
  );
}
