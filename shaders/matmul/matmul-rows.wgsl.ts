import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ownLets, ownOf, type ProductVariant, productHeader, readsF16, storeSum } from "./lib/header.ts";
import { range } from "./lib/loops.ts";

/** How the sums of a few rows are cut. Which threads add up what depends on `lanes` and the weights alone. */
export interface RowsTile {
  kind: "rows";
  /** rows that a thread keeps sums of: 1 to 16 */
  rows: number;
  /** columns that a thread keeps sums of; even for pairs */
  cols: number;
  /** threads that share out the steps of a sum */
  lanes: number;
  /** groups of so many threads in a workgroup, each with columns of its own */
  groups: number;
  /** lanes are a whole subgroup, which adds them up; else they do through workgroup memory */
  subgroup: boolean;
}

/** b is transposed, a is not. `eightB` and `tail` are of k for pieces of eight steps, or four where rows are not aligned so. */
export interface MatmulRowsVariant extends ProductVariant {
  /** steps of a piece: 8, or 4 where a row of b is no whole number of eights */
  piece: 4 | 8;
  tile: RowsTile;
}

/** Bytes of workgroup memory that partial sums may take. */
const PARTIAL_BYTES = 8192;

// matmul_rows: c = alpha * (a @ bᵀ [+ a2 @ b2ᵀ]) [+ bias] [+ c] for few rows, as in decoding
//
// Grid     x: rows; y: columns, part after part, as in matmul
// Shapes   as matmul with b [n, k], b2 [n, r]
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  lane l sums pieces l, l + lanes, … of a row in order, then the lanes are added up: a row's bits do not depend on
//          how many rows there are
// Loads    neighbouring lanes read neighbouring words of a weight row, each once for all rows of the tile
export const matmulRows = (v: MatmulRowsVariant) => {
  const { rows, cols, lanes, groups, subgroup } = v.tile;
  const paired = v.pairs !== "none";
  const own = ownOf(v);
  const places = cols * groups; // columns of a workgroup: place q * groups + local.y is column q of a thread
  const sums = range(rows).flatMap((i) => range(cols).map((q) => [i, q] as const));

  /** products of `steps` steps from s on */
  const products = (a: string, b: string, steps: number, some: readonly number[]) => {
    const width = steps === 1 ? 1 : 4;
    const drop = (i: number, s: string) => (v.dropout === "a" && a === "a" ? ` * keep${width}(row${i}, ${s})` : "");
    const eight = v.eightB && b === "b" && steps === 8;
    const at = (t: number) => (t === 0 ? "s" : `s + ${t}u`);
    const lines = some.flatMap((q) =>
      eight
        ? [`let v${q} = b[(right${q} + s) / 8u];`, `let w${q}_0 = widen(v${q}.xy);`, `let w${q}_4 = widen(v${q}.zw);`]
        : range(steps / width).map((t) => `let w${q}_${4 * t} = ${b}At${width}(right${q} + ${at(4 * t)});`),
    );
    for (const i of range(rows)) {
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
  };
  /** a lane's share of a sum */
  const loop = (a: "a" | "a2", b: "b" | "b2", piece: number, k: string, starts: string[], some: readonly number[]) => `{
  ${starts.join("\n  ")}
  var s = local.x * ${piece}u;
  for (; s + ${piece}u <= ${k}; s += ${lanes * piece}u) {
    ${products(a, b, piece, some)}
  }
  ${
    v.tail
      ? `for (; s < ${k}; s++) {
    ${products(a, b, 1, some)}
  }`
      : ""
  }
  }`;
  const low = (r: string, aAt: string, bAt: string, some: readonly number[], row: (q: number) => string) =>
    loop(
      "a2",
      "b2",
      4,
      r,
      [
        ...range(rows).map((i) => `let left${i} = ${aAt} + row${i} * params.lda2;`),
        ...some.map((q) => `let right${q} = ${bAt} + ${row(q)} * ${r};`),
      ],
      some,
    );
  const half = cols / 2;
  const lows =
    v.pairs === "swiglu"
      ? range(2).map((h) =>
          low(
            `params.r${h}`,
            `params.a2At${h}`,
            `params.b2At${h}`,
            range(half).map((q) => h * half + q),
            (q) => `u${q % half}`,
          ),
        )
      : [low(own("r"), own("a2At"), own("b2At"), range(cols), (q) => `col${q}`)];
  const main = loop(
    "a",
    "b",
    v.piece,
    "k",
    [
      ...range(rows).map((i) => `let left${i} = aAt + row${i} * params.lda;`),
      ...range(cols).map((q) => `let right${q} = bAt + col${q} * params.ldb;`),
    ],
    range(cols),
  );
  const column = (q: number) => {
    if (!paired) return `let col${q} = min(tileCol + local.y + ${q * groups}u, n - 1u);`;
    const shift = v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`;
    if (q >= half) return `let col${q} = col${q - half} + ${shift};`;
    const u = `let u${q} = min(tileCol / 2u + local.y + ${q * groups}u, n / 2u - 1u);`;
    return `${u} let col${q} = ${v.pairs === "swiglu" ? `u${q}` : `u${q} + u${q} / ${v.half}u * ${v.half}u`};`;
  };
  // through workgroup memory: so many sums at a time, in rows of an odd length, so that no two threads meet in a bank
  const batch = Math.max(1, Math.min(sums.length, Math.floor(PARTIAL_BYTES / (4 * groups * (lanes + 1)))));
  const batches = range(Math.ceil(sums.length / batch)).map((b) => sums.slice(b * batch, (b + 1) * batch));
  const total = ([i, q]: readonly [number, number]) => i * places + q * groups;
  const reduce = subgroup
    ? `
  ${sums.map(([i, q]) => `acc${i}_${q} = subgroupAdd(acc${i}_${q});`).join("\n  ")}
  if (local.x == 0u) {
    ${sums.map((of) => `sums[${total(of)}u + local.y] = acc${of[0]}_${of[1]};`).join("\n    ")}
  }
  workgroupBarrier();`
    : batches
        .map(
          (some) => `
  ${some.map(([i, q], e) => `partial[${e * groups * (lanes + 1)}u + mine] = acc${i}_${q};`).join("\n  ")}
  workgroupBarrier();
  for (var o = thread; o < ${some.length * groups}u; o += ${lanes * groups}u) {
    var sum = partial[o * ${lanes + 1}u];
    for (var l = 1u; l < ${lanes}u; l++) { sum += partial[o * ${lanes + 1}u + l]; }
    sums[${total(some[0])}u + o] = sum;
  }
  workgroupBarrier();`,
        )
        .join("");
  const stored = paired ? places / 2 : places;
  return wgsl`
#if ${readsF16(v)}
enable f16;
#endif
#if ${subgroup}
enable subgroups;
#endif

${productHeader(v)}
var<workgroup> sums: array<f32, ${rows * places}>;
#if ${!subgroup}
var<workgroup> partial: array<f32, ${batch * groups * (lanes + 1)}>;
#endif

@compute @workgroup_size(${lanes}, ${groups})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  ${ownLets(v, places)}
  let tileRow = group.x * ${rows}u;
  // Past the edge a thread works on the last row and column again and stores nothing.
  ${range(rows)
    .map((i) => `let row${i} = min(tileRow + ${i}u, params.m - 1u);`)
    .join("\n  ")}
  ${range(cols).map(column).join("\n  ")}
  ${sums.map(([i, q]) => `var acc${i}_${q} = 0.0;`).join("\n  ")}
  ${v.extra ? lows.join("\n  ") : ""}
  ${v.dropout === "extra" ? sums.map(([i, q]) => `acc${i}_${q} *= keep1(row${i}, col${q});`).join("\n  ") : ""}
  ${main}
  ${subgroup ? "" : `let mine = local.y * ${lanes + 1}u + local.x;`}
  ${reduce}
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
