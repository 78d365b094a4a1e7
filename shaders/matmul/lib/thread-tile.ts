import { sigmoid } from "../../lib/sigmoid.ts";
import { range } from "./loops.ts";
import type { MatmulVariant } from "./variant.ts";

// The registers of a matmul thread: its rows and columns, its sums, and how they are stored.
//
// `acc{i}_{j}` is the sum of row i and entry j: one column with b transposed, else four neighbours. Pairs of columns
// are entries j and j + cols / 2 of the same thread.

/** Columns per entry. */
const widthOf = ({ transB }: MatmulVariant) => (transB ? 1 : 4);

/** Entries per row. */
const entriesOf = (v: MatmulVariant) => v.tile.cols / widthOf(v);

/** Column of a thread's entry j, relative to the tile. */
function place(v: MatmulVariant, j: number): string {
  const { cols, lanes, walk = 1 } = v.tile;
  if (v.transB) return walk > 1 ? `(local.x + ${j * lanes}u) * ${walk}u + turn` : `local.x + ${j * lanes}u`;
  const at = walk > 1 ? `turn * ${cols * lanes}u + ` : "";
  if (v.eightB) return `${at}(local.x + ${(j >> 1) * lanes}u) * 8u + ${(j % 2) * 4}u`;
  return `${at}(local.x + ${j * lanes}u) * 4u`;
}

/** Per-part fields of the low-rank product; for swiglu's halves, they are in `Params`. @param own from `ownOf` */
export function lowLets(own: (field: "r" | "a2At" | "b2At") => string): string {
  return `let r = ${own("r")};
  let a2At = ${own("a2At")};
  let b2At = ${own("b2At")};`;
}

/** `row{i}`: past the edge, a thread repeats the last rows and stores nothing. */
export function rowLets({ tile: { rows, groups }, transA }: MatmulVariant): string {
  const lines = range(rows).map((i) => {
    const last = transA && i === 0 ? "(params.m - 1u) / 4u * 4u" : "params.m - 1u"; // vec4 loads begin at row0
    return `let row${i} = min(tileRow + ${groups === 1 ? "" : `local.y * ${rows}u + `}${i}u, ${last});`;
  });
  return lines.join("\n  ");
}

/** `col{j}`, and with pairs `u{j}`: past the edge, a thread repeats the last columns and stores nothing. */
export function columnLets(v: MatmulVariant): string {
  const lines = range(entriesOf(v)).map((j) => {
    if (!v.transB) return `let col${j} = min(tileCol + ${place(v, j)}, (n - 1u) / 4u * 4u);`;
    if (v.pairs === "none") return `let col${j} = min(tileCol + ${place(v, j)}, n - 1u);`;
    const first = j - v.tile.cols / 2;
    if (first >= 0) return `let col${j} = col${first} + ${v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`};`;
    const u = `let u${j} = min(tileCol / 2u + ${place(v, j)}, n / 2u - 1u);`;
    return `${u} let col${j} = ${v.pairs === "swiglu" ? `u${j}` : `u${j} + u${j} / ${v.half}u * ${v.half}u`};`;
  });
  return lines.join("\n  ");
}

/** The sums of a thread, row by row. */
function sumsOf(v: MatmulVariant): (readonly [number, number])[] {
  return range(v.tile.rows).flatMap((i) => range(entriesOf(v)).map((j) => [i, j] as const));
}

export function sumVars(v: MatmulVariant): string {
  return sumsOf(v)
    .map(([i, j]) => `var acc${i}_${j} = ${v.transB ? "f32" : "vec4f"}();`)
    .join("\n  ");
}

/** Multiplies the sums of the low-rank product so far by the dropout mask. */
export function maskSums(v: MatmulVariant): string {
  return sumsOf(v)
    .map(([i, j]) => `acc${i}_${j} *= keep${widthOf(v)}(row${i}, col${j});`)
    .join("\n  ");
}

/** Stores all sums of a thread. */
export function storeTile(v: MatmulVariant): string {
  const { rows, cols } = v.tile;
  const paired = v.pairs !== "none";
  const entries = entriesOf(v);
  const each = (count: number, line: (j: number) => string, joint = "\n  ") => range(count).map(line).join(joint);
  return `${each(paired ? 0 : entries, (j) => `let j${j} = tileCol + ${place(v, j)};`)}
  ${each(v.bias === "none" ? 0 : entries, (j) => `let bias${j} = biasAt${widthOf(v)}(biasAt + col${j});`)}
  ${each(v.pairs === "rotary" ? cols / 2 : 0, (j) => `let angle${j} = u${j} % ${v.half}u;`)}
  ${each(
    rows,
    (i) => `{
    let i = tileRow + local.y * ${rows}u + ${i}u;
    if (i < params.m) {
    ${each(paired ? cols / 2 : entries, (j) => (paired ? storePair(v, i, j) : storeEntry(v, i, j)), "\n    ")}
    }
  }`,
  )}`;
}

function storeEntry(v: MatmulVariant, i: number, j: number): string {
  const bias = v.bias === "none" ? "" : ` + bias${j}`;
  const before = v.accumulate ? "c[at] + " : "";
  if (v.vecC && !v.transB) {
    return `if (j${j} < n) {
      let at = (cAt + i * params.rowStride + j${j}) / 4u;
      c[at] = ${before}params.alpha * acc${i}_${j}${bias};
    }`;
  }
  return range(widthOf(v))
    .map((e) => {
      const one = v.transB ? "" : `[${e}]`;
      return `if (j${j} + ${e}u < n) {
      let at = cAt + i * params.rowStride + (j${j} + ${e}u) * params.colStride;
      c[at] = ${before}params.alpha * acc${i}_${j}${one}${bias}${bias && one};
    }`;
    })
    .join("\n    ");
}

/** Stores columns u and u + half of a row, which are entries j and j + cols / 2 of the thread. */
function storePair(v: MatmulVariant, i: number, j: number): string {
  const [first, second] = [j, j + v.tile.cols / 2];
  const value = (entry: number) => `params.alpha * acc${i}_${entry}${v.bias === "none" ? "" : ` + bias${entry}`}`;
  const body =
    v.pairs === "swiglu"
      ? `let g = ${value(first)};
      c[cAt + i * params.rowStride + u${j}] = g * ${sigmoid("f32")} * (${value(second)});`
      : v.pairs === "bf16"
        ? `c[(cAt + i * params.rowStride) / 2u + u${j}] = narrow(${value(first)}, ${value(second)});`
        : `let x = ${value(first)};
      let y = ${value(second)};
      let angle = positions[i] * ${2 * v.half}u + angle${j};
      let cosine = select(1.0, table[angle], part < 2u);
      let sine = select(0.0, table[angle + ${v.half}u], part < 2u);
      let at = cAt + i * params.rowStride;
      c[at + col${first}] = x * cosine - y * sine;
      c[at + col${second}] = y * cosine + x * sine;`;
  return `if (tileCol / 2u + ${place(v, j)} < n / 2u) {
      ${body}
    }`;
}
