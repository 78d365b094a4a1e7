import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ownLets, ownOf, type ProductVariant, productHeader, readsF16, storeSum } from "./lib/header.ts";
import { MAIN, range } from "./lib/loops.ts";
import { type MatrixTile, slabsOf } from "./lib/slabs.ts";
import { fourLoads } from "./lib/staged.ts";

interface MatmulSubgroupMatrixVariant extends ProductVariant {
  tile: MatrixTile;
}

/** WGSL names of one operand pair of the sum. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  aAt: string;
  bAt: string;
  k: string;
  transA: boolean;
  /** for swiglu's low-rank parts: their half of the columns */
  half?: number;
}

// matmul_subgroup_matrix: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c] on the adapter's matrix units
//
// Grid     as matmul
// Shapes   as matmul
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  operands are rounded to the matrices' type, sums are f32. f16 keeps 11 bits of activations and gradients,
//          and all 8 of bf16; values above 65504 become infinite, below 6e-8 zero, below 6e-5 they have fewer bits.
// Source   Dawn's docs/dawn/features/subgroup_matrix.md; the x-size of a workgroup is a multiple of the largest
//          subgroup
export const matmulSubgroupMatrix = (v: MatmulSubgroupMatrixVariant) => {
  const { matrix, lanes } = v.tile;
  const { type, m: M, n: N, k: K, size, emulate = false, asks = false } = matrix;
  const { threads, tileRows, tileCols } = sizesOf(v);
  const { aCount, bCount, results } = slabsOf(v);
  const vec = vecOf(v);
  return wgsl`
#if ${!emulate}
enable chromium_experimental_subgroup_matrix;
${asks ? "enable subgroups;\nenable subgroup_size_control;" : ""}
diagnostic(off, chromium.subgroup_matrix_uniformity); // a subgroup's index is the same for all its threads
#endif
#if ${type === "f16" || readsF16(v)}
enable f16;
#endif

${productHeader(v)}
var<workgroup> aSlab: array<${type}, ${aCount}>;
var<workgroup> bSlab: array<${type}, ${bCount}>;
var<workgroup> staged: array<f32, ${results}>;
${fourLoads("a", !v.transA, vec, v.dropout === "a", !v.tail)}
${fourLoads("b", v.transB, vec, v.dropout === "b", !v.tail)}
#if ${v.extra}
${fourLoads("a2", true, vec, false, !v.tail)}
${fourLoads("b2", v.transB, vec, false, !v.tail)}
#endif
${columnFunctions(v)}
${
  emulate
    ? emulatedFunctions(v)
    : `
alias Left = subgroup_matrix_left<${type}, ${K}, ${M}>;
alias Right = subgroup_matrix_right<${type}, ${N}, ${K}>;
alias Result = subgroup_matrix_result<f32, ${N}, ${M}>;`
}
${finishFunction(v)}

@compute @workgroup_size(${threads}) ${asks ? `@subgroup_size(${size})` : ""}
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${!emulate}
  @builtin(subgroup_id) sub: u32,
#endif
) {
  ${
    emulate
      ? `let sub = thread / ${size}u;
  let lane = thread % ${size}u;`
      : ""
  }
  ${ownLets(v, tileCols)}
  let tileRow = group.x * ${tileRows}u;
  let subRow = sub / ${lanes}u;
  let subCol = sub % ${lanes}u;
  ${matricesOf(v)
    .map(([i, j]) => `var acc${i}_${j} = Result();`)
    .join("\n  ")}
  ${v.extra ? lowLoops(v).join("\n  ") : ""}
  ${loop(v, { ...MAIN, transA: v.transA })}
  ${epilogue(v)}
}
`;
};

const vecOf = ({ tile }: MatmulSubgroupMatrixVariant) => (tile.matrix.type === "f16" ? "vec4<f16>" : "vec4f");

/** Threads per workgroup, its tile, and matrices per subgroup. */
function sizesOf({ tile: { rows, cols, lanes, groups, matrix } }: MatmulSubgroupMatrixVariant) {
  return {
    threads: lanes * groups * matrix.size,
    tileRows: rows * groups,
    tileCols: cols * lanes,
    down: rows / matrix.m,
    across: cols / matrix.n,
  };
}

/** A subgroup's matrices, by row and column. */
function matricesOf(v: MatmulSubgroupMatrixVariant): (readonly [number, number])[] {
  const { down, across } = sizesOf(v);
  return range(down).flatMap((i) => range(across).map((j) => [i, j] as const));
}

/** First column of a subgroup's matrix; a subgroup has both columns of a pair. */
function placeOf(v: MatmulSubgroupMatrixVariant, j: number): string {
  const { cols, matrix } = v.tile;
  const { tileCols, across } = sizesOf(v);
  if (v.pairs === "none") return `subCol * ${cols}u + ${j * matrix.n}u`;
  const second = j >= across / 2;
  return `subCol * ${cols / 2}u + ${(second ? tileCols / 2 : 0) + (j % (across / 2)) * matrix.n}u`;
}

/** One operand in workgroup memory. */
interface Side {
  name: "a" | "b";
  /** its source */
  of: Operands["a"] | Operands["b"];
  alongSum: boolean;
  /** rows or columns of the tile */
  size: number;
  /** elements per slab row */
  ld: number;
}

function sidesOf(v: MatmulSubgroupMatrixVariant, o: Operands): [Side, Side] {
  const { left, right, low } = slabsOf(v);
  const { tileRows, tileCols } = sizesOf(v);
  return [
    { name: "a", of: o.a, alongSum: !o.transA, size: tileRows, ld: (o.transA ? left : low).ld },
    { name: "b", of: o.b, alongSum: v.transB, size: tileCols, ld: right.ld },
  ];
}

/** Four elements that a thread moves into a slab. */
interface Move extends Side {
  register: string;
  outer: string;
  along: string;
  guard: string;
}

function movesOf(v: MatmulSubgroupMatrixVariant, sides: readonly Side[]): Move[] {
  const { threads } = sizesOf(v);
  const { stage } = v.tile;
  return sides.flatMap((side) => {
    const inner = (side.alongSum ? stage : side.size) / 4;
    const count = (side.size * stage) / 4;
    return range(Math.ceil(count / threads)).map((n) => {
      const t = n === 0 ? "thread" : `(thread + ${n * threads}u)`;
      const [outer, along] = [`${t} / ${inner}u`, `${t} % ${inner}u * 4u`];
      const guard = (n + 1) * threads <= count ? "" : `if (${t} < ${count}u) `;
      return { ...side, register: `${side.name}${n}`, outer, along, guard };
    });
  });
}

/** Loads from memory into a register; zeros past the edges. */
function load(v: MatmulSubgroupMatrixVariant, o: Operands, move: Move): string {
  const { name, of, alongSum, register, outer, along, guard } = move;
  const [ld, at] = name === "a" ? [o.lda, o.aAt] : [o.ldb, o.bAt];
  if (!alongSum) {
    const [base, end] = name === "a" ? ["tileRow", "params.m"] : ["tileCol", "n"];
    return `${guard}{
      ${register} = ${vecOf(v)}();
      let step = slab + ${outer};
      if (step < ${o.k}) { ${register} = ${of}Four(${base} + ${along}, step, ${end}, ${at}, ${ld}); }
    }`;
  }
  const index =
    name === "a" ? `tileRow + ${outer}` : `${o.half === undefined ? "column" : "pair"}(tileCol, ${outer}, n)`;
  const half = o.half === undefined || name === "a" ? "" : ` && ${outer} / ${sizesOf(v).tileCols / 2}u == ${o.half}u`;
  return `${guard}{
      ${register} = ${vecOf(v)}();
      let index = ${index};
      if (index < ${name === "a" ? "params.m" : "n"}${half}) { ${register} = ${of}Four(index, slab + ${along}, ${o.k}, ${at}, ${ld}); }
    }`;
}

function store({ name, register, outer, along, guard, ld }: Move): string {
  return `${guard}{
      let at = (${outer}) * ${ld}u + ${along};
      ${range(4)
        .map((e) => `${name}Slab[at + ${e}u] = ${register}[${e}];`)
        .join(" ")}
    }`;
}

/** Products of the matrices at step kk of the slabs. */
function multiply(v: MatmulSubgroupMatrixVariant, [a, b]: readonly [Side, Side]): string {
  const { rows, matrix } = v.tile;
  const { down, across } = sizesOf(v);
  // an element of the left matrix is at row * ld + step, or step * ld + row; likewise for the right matrix
  const place = (side: Side, outer: string) =>
    side.alongSum ? `(${outer}) * ${side.ld}u + kk` : `kk * ${side.ld}u + ${outer}`;
  const read = (name: string, side: Side, at: string) => {
    if (matrix.emulate) return `let ${name} = ${at};`;
    const [as, rowMajor] = side === a ? ["Left", side.alongSum] : ["Right", !side.alongSum];
    return `let ${name} = subgroupMatrixLoad<${as}, ${rowMajor ? "row_major" : "col_major"}>(&${side.name}Slab, ${at}, ${side.ld}u);`;
  };
  const strides = [a, b].map((side) => (side.alongSum ? `${side.ld}u, 1u` : `1u, ${side.ld}u`)).join(", ");
  const lines = [
    ...range(down).map((i) => read(`l${i}`, a, place(a, `subRow * ${rows}u + ${i * matrix.m}u`))),
    ...range(across).map((j) => read(`r${j}`, b, place(b, placeOf(v, j)))),
    ...matricesOf(v).map(([i, j]) =>
      matrix.emulate
        ? `multiply(l${i}, r${j}, ${strides}, &acc${i}_${j}, lane);`
        : `acc${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, acc${i}_${j});`,
    ),
  ];
  return lines.join("\n      ");
}

/** Loop over one sum, one slab of steps at a time. */
function loop(v: MatmulSubgroupMatrixVariant, o: Operands): string {
  const { stage, matrix } = v.tile;
  const sides = sidesOf(v, o);
  const moves = movesOf(v, sides);
  return `{
  ${moves.map(({ register }) => `var ${register} = ${vecOf(v)}();`).join("\n  ")}
  for (var slab = 0u; ; slab += ${stage}u) {
    if (slab < ${o.k}) {
    ${moves.map((move) => load(v, o, move)).join("\n    ")}
    }
    if (slab > 0u) { // multiply the previous slab while this one loads
    for (var kk = 0u; kk < ${stage}u; kk += ${matrix.k}u) {
      ${multiply(v, sides)}
    }
    }
    workgroupBarrier();
    if (slab >= ${o.k}) { break; }
    ${moves.map(store).join("\n    ")}
    workgroupBarrier();
  }
  }`;
}

/** Loops over the low-rank part of the sum: one loop, or for swiglu one per half of the columns. */
function lowLoops(v: MatmulSubgroupMatrixVariant): string[] {
  const swiglu = v.pairs === "swiglu";
  const own = ownOf(v);
  return range(swiglu ? 2 : 1).map((h) => {
    const of = (field: "r" | "a2At" | "b2At") => (swiglu ? `params.${field}${h}` : own(field));
    return loop(v, {
      a: "a2",
      b: "b2",
      lda: "params.lda2",
      ldb: v.transB ? of("r") : "n",
      aAt: of("a2At"),
      bAt: of("b2At"),
      k: of("r"),
      transA: false,
      half: swiglu ? h : undefined,
    });
  });
}

/**
 * `column`: output column of a tile's column; with pairs, the first half has the first of each. `pair`: the same within
 * a half.
 */
function columnFunctions(v: MatmulSubgroupMatrixVariant): string {
  const half = sizesOf(v).tileCols / 2;
  const column =
    v.pairs === "none"
      ? "return tileCol + index;"
      : `let u = tileCol / 2u + index % ${half}u;
  if (u >= n / 2u) { return n; }
  let first = ${v.pairs === "swiglu" ? "u" : `u + u / ${v.half}u * ${v.half}u`};
  return first + index / ${half}u * ${v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`};`;
  return wgsl`
fn column(tileCol: u32, index: u32, n: u32) -> u32 {
  ${column}
}
#if ${v.pairs === "swiglu"}
fn pair(tileCol: u32, index: u32, n: u32) -> u32 {
  let u = tileCol / 2u + index % ${half}u;
  return select(n, u, u < n / 2u);
}
#endif`;
}

/** Emulated builtins; each thread handles its elements of a matrix. */
function emulatedFunctions({ tile: { matrix } }: MatmulSubgroupMatrixVariant): string {
  const { m: M, n: N, k: K, size } = matrix;
  return `
alias Result = array<f32, ${(M * N) / size}>;
fn multiply(l: u32, r: u32, lRow: u32, lStep: u32, rCol: u32, rStep: u32, acc: ptr<function, Result>, lane: u32) {
  let once = min(params.m, 1u); // without this, Mesa unrolls these loops and compiles for minutes
  for (var e = 0u; e < ${(M * N) / size}u * once; e++) {
    let i = (e * ${size}u + lane) / ${N}u;
    let j = (e * ${size}u + lane) % ${N}u;
    for (var s = 0u; s < ${K}u * once; s++) {
      (*acc)[e] = fma(f32(aSlab[l + i * lRow + s * lStep]), f32(bSlab[r + j * rCol + s * rStep]), (*acc)[e]);
    }
  }
}
fn put(acc: Result, at: u32, lane: u32) {
  for (var e = 0u; e < ${(M * N) / size}u; e++) { staged[at + e * ${size}u + lane] = acc[e]; }
}`;
}

/** `finish`: stores the staged matrix of each subgroup, at (firstRow, firstPlace) of its share. */
function finishFunction(v: MatmulSubgroupMatrixVariant): string {
  const { rows, cols, lanes, groups, matrix } = v.tile;
  const [N, count] = [matrix.n, matrix.m * matrix.n];
  const paired = v.pairs !== "none";
  return `
fn finish(thread: u32, firstRow: u32, firstPlace: u32, tileCol: u32, part: u32, n: u32, cAt: u32${v.bias === "none" ? "" : ", biasAt: u32"}) {
  for (var e = thread; e < ${lanes * groups * count}u; e += ${sizesOf(v).threads}u) {
    let owner = e / ${count}u;
    let i = firstRow + owner / ${lanes}u * ${rows}u + e / ${N}u % ${matrix.m}u;
    let place = firstPlace + owner % ${lanes}u * ${paired ? cols / 2 : cols}u + e % ${N}u;
    let origin = owner * ${paired ? 2 * count : count}u + e % ${count}u;
    ${storeSum(v, "place", "staged[origin]", `staged[origin + ${count}u]`)}
  }
}`;
}

/** Stores the sums: one matrix, or one pair, of each subgroup at a time. */
function epilogue(v: MatmulSubgroupMatrixVariant): string {
  const { m: M, n: N, emulate } = v.tile.matrix;
  const { across } = sizesOf(v);
  const paired = v.pairs !== "none";
  const put = (i: number, j: number, offset: number) => {
    const at = `(sub * ${paired ? 2 : 1}u + ${offset}u) * ${M * N}u`;
    return emulate
      ? `put(acc${i}_${j}, ${at}, lane);`
      : `subgroupMatrixStore<row_major>(&staged, ${at}, acc${i}_${j}, ${N}u);`;
  };
  const biasAt = v.bias === "none" ? "" : ", biasAt";
  const stored = matricesOf(v)
    .filter(([, j]) => !paired || j < across / 2)
    .map(
      ([i, j]) => `
  ${put(i, j, 0)}
  ${paired ? put(i, j + across / 2, 1) : ""}
  workgroupBarrier();
  finish(thread, tileRow + ${i * M}u, ${j * N}u, tileCol, part, n, cAt${biasAt});
  workgroupBarrier();`,
    );
  return stored.join("");
}
