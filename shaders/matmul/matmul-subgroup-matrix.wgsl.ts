import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ownLets, ownOf, type ProductVariant, productHeader, readsF16, storeSum } from "./lib/header.ts";
import { range } from "./lib/loops.ts";
import { type MatrixTile, slabsOf } from "./lib/slabs.ts";
import { fourLoads } from "./lib/staged.ts";

export interface MatmulSubgroupMatrixVariant extends ProductVariant {
  tile: MatrixTile;
}

/** One operand pair of the sum, as WGSL names. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  aAt: string;
  bAt: string;
  k: string;
  transA: boolean;
  /** of swiglu's low-rank parts: the half of the columns that has it */
  half?: number;
}

// matmul_subgroup_matrix: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c] by the adapter's matrix units
//
// Grid     as matmul
// Shapes   as matmul
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  operands are rounded to the matrices' type, sums are f32. To f16: 11 bits are kept of activations, gradients and
//          bf16's 8; above 65504 it is infinite, below 6e-8 zero, below 6e-5 it has fewer bits.
// Source   Dawn's docs/dawn/features/subgroup_matrix.md; the x-size of a workgroup is a multiple of the largest subgroup
export const matmulSubgroupMatrix = (v: MatmulSubgroupMatrixVariant) => {
  const { rows, cols, lanes, groups, stage, matrix } = v.tile;
  const { type, m: M, n: N, k: K, size, emulate = false } = matrix;
  const threads = lanes * groups * size;
  const [tileRows, tileCols] = [rows * groups, cols * lanes];
  const paired = v.pairs !== "none";
  const subgroups = lanes * groups;
  const [down, across] = [rows / M, cols / N]; // matrices of a subgroup
  const { left, right, low, aCount, bCount, results } = slabsOf(v);
  const own = ownOf(v);
  const vec = type === "f16" ? "vec4<f16>" : "vec4f";
  const all = range(down).flatMap((i) => range(across).map((j) => [i, j] as const));
  /** first place of a subgroup's matrix along the columns; of pairs each subgroup has both */
  const placeOf = (j: number) => {
    if (!paired) return `subCol * ${cols}u + ${j * N}u`;
    const second = j >= across / 2;
    return `subCol * ${cols / 2}u + ${(second ? tileCols / 2 : 0) + (j % (across / 2)) * N}u`;
  };

  const loop = (o: Operands) => {
    const sides = [
      { name: "a", of: o.a, alongSum: !o.transA, size: tileRows, ld: (o.transA ? left : low).ld },
      { name: "b", of: o.b, alongSum: v.transB, size: tileCols, ld: right.ld },
    ] as const;
    const moves = sides.flatMap((side) => {
      const inner = (side.alongSum ? stage : side.size) / 4;
      const count = (side.size * stage) / 4;
      return range(Math.ceil(count / threads)).map((n) => {
        const t = n === 0 ? "thread" : `(thread + ${n * threads}u)`;
        const [outer, along] = [`${t} / ${inner}u`, `${t} % ${inner}u * 4u`];
        const guard = (n + 1) * threads <= count ? "" : `if (${t} < ${count}u) `;
        return { ...side, register: `${side.name}${n}`, outer, along, guard };
      });
    });
    const load = moves.map(({ name, of, alongSum, register, outer, along, guard }) => {
      const [ld, at] = name === "a" ? [o.lda, o.aAt] : [o.ldb, o.bAt];
      if (!alongSum) {
        const [base, end] = name === "a" ? ["tileRow", "params.m"] : ["tileCol", "n"];
        return `${guard}{
      ${register} = ${vec}();
      let step = slab + ${outer};
      if (step < ${o.k}) { ${register} = ${of}Four(${base} + ${along}, step, ${end}, ${at}, ${ld}); }
    }`;
      }
      const index =
        name === "a" ? `tileRow + ${outer}` : `${o.half === undefined ? "column" : "pair"}(tileCol, ${outer}, n)`;
      const half = o.half === undefined || name === "a" ? "" : ` && ${outer} / ${tileCols / 2}u == ${o.half}u`;
      return `${guard}{
      ${register} = ${vec}();
      let index = ${index};
      if (index < ${name === "a" ? "params.m" : "n"}${half}) { ${register} = ${of}Four(index, slab + ${along}, ${o.k}, ${at}, ${ld}); }
    }`;
    });
    const store = moves.map(
      ({ name, register, outer, along, guard, ld }) => `${guard}{
      let at = (${outer}) * ${ld}u + ${along};
      ${range(4)
        .map((e) => `${name}Slab[at + ${e}u] = ${register}[${e}];`)
        .join(" ")}
    }`,
    );
    // an element of the left matrix lies at row * ld + step, or step * ld + row; of the right one likewise
    const place = (side: (typeof sides)[number], outer: string) =>
      side.alongSum ? `(${outer}) * ${side.ld}u + kk` : `kk * ${side.ld}u + ${outer}`;
    const major = (row: boolean) => (row ? "row_major" : "col_major");
    const read = (name: string, side: (typeof sides)[number], as: "Left" | "Right", at: string) =>
      emulate
        ? `let ${name} = ${at};`
        : `let ${name} = subgroupMatrixLoad<${as}, ${major((as === "Left") === side.alongSum)}>(&${side.name}Slab, ${at}, ${side.ld}u);`;
    const strides = sides.map((side) => (side.alongSum ? `${side.ld}u, 1u` : `1u, ${side.ld}u`)).join(", ");
    const multiply = all.map(([i, j]) =>
      emulate
        ? `multiply(l${i}, r${j}, ${strides}, &acc${i}_${j}, lane);`
        : `acc${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, acc${i}_${j});`,
    );
    return `{
  ${moves.map(({ register }) => `var ${register} = ${vec}();`).join("\n  ")}
  for (var slab = 0u; ; slab += ${stage}u) {
    if (slab < ${o.k}) {
    ${load.join("\n    ")}
    }
    if (slab > 0u) { // the slab before, while this one is on its way
    for (var kk = 0u; kk < ${stage}u; kk += ${K}u) {
      ${range(down)
        .map((i) => read(`l${i}`, sides[0], "Left", place(sides[0], `subRow * ${rows}u + ${i * M}u`)))
        .join("\n      ")}
      ${range(across)
        .map((j) => read(`r${j}`, sides[1], "Right", place(sides[1], placeOf(j))))
        .join("\n      ")}
      ${multiply.join("\n      ")}
    }
    }
    workgroupBarrier();
    if (slab >= ${o.k}) { break; }
    ${store.join("\n    ")}
    workgroupBarrier();
  }
  }`;
  };
  const lows = range(v.pairs === "swiglu" ? 2 : 1).map((h) => {
    const of = (field: "r" | "a2At" | "b2At") => (v.pairs === "swiglu" ? `params.${field}${h}` : own(field));
    return loop({
      a: "a2",
      b: "b2",
      lda: "params.lda2",
      ldb: v.transB ? of("r") : "n",
      aAt: of("a2At"),
      bAt: of("b2At"),
      k: of("r"),
      transA: false,
      half: v.pairs === "swiglu" ? h : undefined,
    });
  });
  const main = loop({
    a: "a",
    b: "b",
    lda: "params.lda",
    ldb: "params.ldb",
    aAt: "aAt",
    bAt: "bAt",
    k: "k",
    transA: v.transA,
  });
  const half = tileCols / 2;
  const column = !paired
    ? "return tileCol + index;"
    : `let u = tileCol / 2u + index % ${half}u;
  if (u >= n / 2u) { return n; }
  let first = ${v.pairs === "swiglu" ? "u" : `u + u / ${v.half}u * ${v.half}u`};
  return first + index / ${half}u * ${v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`};`;
  const put = (i: number, j: number, offset: number) => {
    const at = `(sub * ${paired ? 2 : 1}u + ${offset}u) * ${M * N}u`;
    return emulate
      ? `put(acc${i}_${j}, ${at}, lane);`
      : `subgroupMatrixStore<row_major>(&staged, ${at}, acc${i}_${j}, ${N}u);`;
  };
  // one matrix of each subgroup at a time, or a pair
  const biasAt = v.bias === "none" ? "" : ", biasAt";
  const epilogue = all
    .filter(([, j]) => !paired || j < across / 2)
    .map(
      ([i, j]) => `
  ${put(i, j, 0)}
  ${paired ? put(i, j + across / 2, 1) : ""}
  workgroupBarrier();
  finish(thread, tileRow + ${i * M}u, ${j * N}u, tileCol, part, n, cAt${biasAt});
  workgroupBarrier();`,
    );
  const columns = paired ? cols / 2 : cols;
  const finish = `
// stores what is staged: a matrix of each subgroup, the one at (firstRow, firstPlace) of its share
fn finish(thread: u32, firstRow: u32, firstPlace: u32, tileCol: u32, part: u32, n: u32, cAt: u32${v.bias === "none" ? "" : ", biasAt: u32"}) {
  for (var e = thread; e < ${subgroups * M * N}u; e += ${threads}u) {
    let owner = e / ${M * N}u;
    let i = firstRow + owner / ${lanes}u * ${rows}u + e / ${N}u % ${M}u;
    let place = firstPlace + owner % ${lanes}u * ${columns}u + e % ${N}u;
    let origin = owner * ${paired ? 2 * M * N : M * N}u + e % ${M * N}u;
    ${storeSum(v, "place", "staged[origin]", `staged[origin + ${M * N}u]`)}
  }
}`;
  const emulated = `
alias Result = array<f32, ${(M * N) / size}>;
fn multiply(l: u32, r: u32, lRow: u32, lStep: u32, rCol: u32, rStep: u32, acc: ptr<function, Result>, lane: u32) {
  let once = min(params.m, 1u); // or Mesa unrolls these loops, and compiles for minutes
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
  return wgsl`
#if ${!emulate}
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity); // a subgroup's number is the same for all its threads
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
// where a tile's column lies: of pairs its first half holds the first of each, its second half the second
fn column(tileCol: u32, index: u32, n: u32) -> u32 {
  ${column}
}
#if ${v.pairs === "swiglu"}
fn pair(tileCol: u32, index: u32, n: u32) -> u32 {
  let u = tileCol / 2u + index % ${half}u;
  return select(n, u, u < n / 2u);
}
#endif
${
  emulate
    ? emulated
    : `
alias Left = subgroup_matrix_left<${type}, ${K}, ${M}>;
alias Right = subgroup_matrix_right<${type}, ${N}, ${K}>;
alias Result = subgroup_matrix_result<f32, ${N}, ${M}>;`
}
${finish}

@compute @workgroup_size(${threads})
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
  ${all.map(([i, j]) => `var acc${i}_${j} = Result();`).join("\n  ")}
  ${v.extra ? lows.join("\n  ") : ""}
  ${main}
  ${epilogue.join("")}
}
`;
};
