import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import type { Subgroups } from "../lib/reduce.ts";
import { ownLets, ownOf, type ProductVariant, productHeader, readsF16, storeSum } from "./lib/header.ts";
import { range } from "./lib/loops.ts";

/** How the sums of a few rows are divided. The order of a sum depends only on `lanes` and the weights. */
export interface RowsTile {
  kind: "rows";
  /** rows of sums per thread: 1 to 16 */
  rows: number;
  /** columns of sums per thread; even for pairs */
  cols: number;
  /** threads that divide the steps of a sum */
  lanes: number;
  /** groups of this many threads per workgroup, each with its own columns */
  groups: number;
  /** lanes are a whole subgroup, which sums them; else they are summed through workgroup memory */
  subgroup: boolean;
  /** the kernel must request the subgroup size `lanes` */
  asks?: boolean;
}

/**
 * b is transposed, a is not. `eightB` and `tail` refer to pieces of eight steps of k, or four if rows are not aligned.
 */
interface MatmulRowsVariant extends ProductVariant {
  /** steps per piece: 8, or 4 if the length of b's rows is not a multiple of 8 */
  piece: 4 | 8;
  subgroups?: Subgroups;
  tile: RowsTile;
}

/** Workgroup memory limit for partial sums, in bytes. */
const PARTIAL_BYTES = 8192;

// matmul_rows: c = alpha * (a @ bᵀ [+ a2 @ b2ᵀ]) [+ bias] [+ c] for few rows, as in decoding
//
// Grid     x: rows; y: columns, part after part, as in matmul
// Shapes   as matmul with b [n, k], b2 [n, r]
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  lane l sums pieces l, l + lanes, … of a row in order, then the lanes are summed: a row's bits do not depend
//          on the number of rows
// Loads    neighbouring lanes read neighbouring words of a weight row, once for all rows of the tile
export const matmulRows = (v: MatmulRowsVariant) => {
  const { rows, cols, lanes, groups, subgroup, asks = false } = v.tile;
  const numbered = subgroup && v.subgroups === "id";
  const places = cols * groups; // columns per workgroup: index q * groups + local.y is column q of a thread
  const sums = sumsOf(v);
  const stored = v.pairs === "none" ? places : places / 2;
  return wgsl`
#if ${readsF16(v)}
enable f16;
#endif
#if ${subgroup}
enable subgroups;
#endif
#if ${asks}
enable subgroup_size_control;
#endif

${productHeader(v)}
var<workgroup> sums: array<f32, ${rows * places}>;
#if ${!subgroup}
var<workgroup> partial: array<f32, ${batchOf(v) * groups * (lanes + 1)}>;
#endif

@compute @workgroup_size(${lanes}, ${groups}) ${asks ? `@subgroup_size(${lanes})` : ""}
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${numbered}
  @builtin(subgroup_id) sub: u32,
  @builtin(subgroup_invocation_id) lane: u32,
#else
  @builtin(local_invocation_id) local: vec3u,
#endif
) {
#if ${numbered}
  let local = vec2u(lane, min(sub, ${groups - 1}u)); // WGSL does not guarantee which threads form a subgroup
#endif
  ${ownLets(v, places)}
  let tileRow = group.x * ${rows}u;
  // Past the edge, a thread repeats the last row and column and stores nothing.
  ${range(rows)
    .map((i) => `let row${i} = min(tileRow + ${i}u, params.m - 1u);`)
    .join("\n  ")}
  ${range(cols)
    .map((q) => columnLet(v, q))
    .join("\n  ")}
  ${sums.map(([i, q]) => `var acc${i}_${q} = 0.0;`).join("\n  ")}
  ${v.extra ? lowLoops(v).join("\n  ") : ""}
  ${v.dropout === "extra" ? sums.map(([i, q]) => `acc${i}_${q} *= keep1(row${i}, col${q});`).join("\n  ") : ""}
  ${mainLoop(v)}
  ${subgroup ? addBySubgroup(v) : addByMemory(v)}
  for (var o = thread; o < ${rows * stored}u; o += ${lanes * groups}u) {
    let place = o % ${stored}u;
    let i = tileRow + o / ${stored}u;
    let first = o / ${stored}u * ${places}u + place;
    {
      ${storeSum(v, "place", "sums[first]", `sums[first + ${stored}u]`).replaceAll("\n", "\n      ")}
    }
  }
}
`;
};

/** The sums of a thread: row and column. */
const sumsOf = ({ tile: { rows, cols } }: MatmulRowsVariant) =>
  range(rows).flatMap((i) => range(cols).map((q) => [i, q] as const));

/** `col{q}`, and with pairs `u{q}`. */
function columnLet(v: MatmulRowsVariant, q: number): string {
  const { cols, groups } = v.tile;
  if (v.pairs === "none") return `let col${q} = min(tileCol + local.y + ${q * groups}u, n - 1u);`;
  const shift = v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`;
  if (q >= cols / 2) return `let col${q} = col${q - cols / 2} + ${shift};`;
  const u = `let u${q} = min(tileCol / 2u + local.y + ${q * groups}u, n / 2u - 1u);`;
  return `${u} let col${q} = ${v.pairs === "swiglu" ? `u${q}` : `u${q} + u${q} / ${v.half}u * ${v.half}u`};`;
}

/** WGSL names of one operand pair of the sum. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  /** steps per piece */
  piece: number;
  k: string;
  /** first element of row i of a, of column q of b */
  left: (i: number) => string;
  right: (q: number) => string;
  /** columns for this loop */
  some: readonly number[];
}

/** A lane's share of a sum. */
function loop(v: MatmulRowsVariant, o: Operands): string {
  const { rows, lanes } = v.tile;
  const starts = [
    ...range(rows).map((i) => `let left${i} = ${o.left(i)};`),
    ...o.some.map((q) => `let right${q} = ${o.right(q)};`),
  ];
  return `{
  ${starts.join("\n  ")}
  var s = local.x * ${o.piece}u;
  for (; s + ${o.piece}u <= ${o.k}; s += ${lanes * o.piece}u) {
    ${products(v, o, o.piece)}
  }
  ${
    v.tail
      ? `for (; s < ${o.k}; s++) {
    ${products(v, o, 1)}
  }`
      : ""
  }
  }`;
}

/** Products of `steps` steps from s on. */
function products(v: MatmulRowsVariant, { a, b, some }: Operands, steps: number): string {
  const width = steps === 1 ? 1 : 4;
  const drop = (i: number, s: string) => (v.dropout === "a" && a === "a" ? ` * keep${width}(row${i}, ${s})` : "");
  const eight = v.eightB && b === "b" && steps === 8;
  const at = (t: number) => (t === 0 ? "s" : `s + ${t}u`);
  const lines = some.flatMap((q) =>
    eight
      ? [`let v${q} = b[(right${q} + s) / 8u];`, `let w${q}_0 = widen(v${q}.xy);`, `let w${q}_4 = widen(v${q}.zw);`]
      : range(steps / width).map((t) => `let w${q}_${4 * t} = ${b}At${width}(right${q} + ${at(4 * t)});`),
  );
  for (const i of range(v.tile.rows)) {
    for (const t of range(steps / width).map((c) => 4 * c))
      lines.push(`let x${i}_${t} = ${a}At${width}(left${i} + ${at(t)})${drop(i, at(t))};`);
    for (const q of some) {
      const sum = range(steps).reduce((to, t) => {
        const [x, w] = [`x${i}_${t & 4}`, `w${q}_${t & 4}`];
        return width === 1 ? `fma(${x}, ${w}, ${to})` : `fma(${x}[${t & 3}], ${w}[${t & 3}], ${to})`;
      }, `acc${i}_${q}`);
      lines.push(`acc${i}_${q} = ${sum};`);
    }
  }
  return lines.join("\n    ");
}

function mainLoop(v: MatmulRowsVariant): string {
  return loop(v, {
    a: "a",
    b: "b",
    piece: v.piece,
    k: "k",
    left: (i) => `aAt + row${i} * params.lda`,
    right: (q) => `bAt + col${q} * params.ldb`,
    some: range(v.tile.cols),
  });
}

/** Loops over the low-rank part of the sum: one loop, or for swiglu one per half of the columns. */
function lowLoops(v: MatmulRowsVariant): string[] {
  const low = (r: string, aAt: string, bAt: string, some: readonly number[], row: (q: number) => string) =>
    loop(v, {
      a: "a2",
      b: "b2",
      piece: 4,
      k: r,
      left: (i) => `${aAt} + row${i} * params.lda2`,
      right: (q) => `${bAt} + ${row(q)} * ${r}`,
      some,
    });
  if (v.pairs !== "swiglu") {
    const own = ownOf(v);
    return [low(own("r"), own("a2At"), own("b2At"), range(v.tile.cols), (q) => `col${q}`)];
  }
  const half = v.tile.cols / 2;
  return range(2).map((h) => {
    const some = range(half).map((q) => h * half + q);
    return low(`params.r${h}`, `params.a2At${h}`, `params.b2At${h}`, some, (q) => `u${q % half}`);
  });
}

/** Index of a sum in `sums`, without local.y. */
function totalOf({ tile: { cols, groups } }: MatmulRowsVariant, [i, q]: readonly [number, number]): number {
  return i * cols * groups + q * groups;
}

function addBySubgroup(v: MatmulRowsVariant): string {
  const sums = sumsOf(v);
  return `
  ${sums.map(([i, q]) => `acc${i}_${q} = subgroupAdd(acc${i}_${q});`).join("\n  ")}
  if (local.x == 0u) {
    ${sums.map((of) => `sums[${totalOf(v, of)}u + local.y] = acc${of[0]}_${of[1]};`).join("\n    ")}
  }
  workgroupBarrier();`;
}

/** Sums in workgroup memory at once: in rows of an odd length, so that there are no bank conflicts. */
function batchOf(v: MatmulRowsVariant): number {
  const { rows, cols, lanes, groups } = v.tile;
  return Math.max(1, Math.min(rows * cols, Math.floor(PARTIAL_BYTES / (4 * groups * (lanes + 1)))));
}

function addByMemory(v: MatmulRowsVariant): string {
  const { lanes, groups } = v.tile;
  const [sums, batch, row] = [sumsOf(v), batchOf(v), lanes + 1];
  const batches = range(Math.ceil(sums.length / batch)).map((b) => sums.slice(b * batch, (b + 1) * batch));
  const added = batches.map(
    (some) => `
  ${some.map(([i, q], e) => `partial[${e * groups * row}u + mine] = acc${i}_${q};`).join("\n  ")}
  workgroupBarrier();
  for (var o = thread; o < ${some.length * groups}u; o += ${lanes * groups}u) {
    var sum = partial[o * ${row}u];
    for (var l = 1u; l < ${lanes}u${v.fours ? " * min(params.m, 1u)" : ""}; l++) { sum += partial[o * ${row}u + l]; }
    sums[${totalOf(v, some[0])}u + o] = sum;
  }
  workgroupBarrier();`,
  );
  return `let mine = local.y * ${row}u + local.x;
  ${added.join("")}`;
}
