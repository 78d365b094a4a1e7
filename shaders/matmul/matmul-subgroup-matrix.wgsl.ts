import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { WIDEN } from "../lib/load.ts";
import { ownLets, ownOf, productHeader, readsF16, storeSum } from "./lib/header.ts";
import { range } from "./lib/loops.ts";
import { type MatmulSubgroupMatrixVariant, matricesOf, movesOf, put, sizesOf, turned } from "./lib/matrix-moves.ts";
import { slabsOf } from "./lib/slabs.ts";
import { fourLoads } from "./lib/staged.ts";

/** WGSL of one sum's operands. */
interface Operands {
  /** place of a's row in its buffer, without the step; null: the low-rank rows are in a2 */
  aAt: string | null;
  /** main sum, or the low-rank part */
  low: boolean;
  /** for swiglu's low-rank parts: their half of the columns */
  half?: number;
}

// matmul_subgroup_matrix: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c] on the adapter's matrix units; a is not transposed
//
// Grid     as matmul
// Shapes   as matmul; k is a multiple of the tile's stage, rows of b begin at multiples of 8 elements (4 if b is not
//          transposed); a is f32 for matrices of f32, and for matrices of f16 as pack_rows writes it: f16 rows times a
//          power of two each, the low-rank rows a2 behind them, `scales` [m] f32 with the inverse of each power
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  operands are rounded to the matrices' type, sums are f32. A row of a keeps 11 bits of everything within 2^-28
//          of its largest value; b keeps all 8 bits of bf16 between 6e-5 and 65504, and is limited to ±65504.
// Slabs    both operands lie in blocks of one matrix each, with the sum along rows of a constant length: the place of a
//          matrix is then a constant inside a block, which Dawn need not clamp and which compilers read 16 bytes at a time
// Source   Dawn's docs/dawn/features/subgroup_matrix.md; the x-size of a workgroup is a multiple of the largest
//          subgroup
export const matmulSubgroupMatrix = (v: MatmulSubgroupMatrixVariant) => {
  const { matrix, lanes, groups } = v.tile;
  const { type, m: M, n: N, k: K, size, emulate = false, asks = false } = matrix;
  const { threads, tileRows, tileCols, down, across } = sizesOf(v);
  const { blockA, blockB } = slabsOf(v.tile);
  const staged = v.pairs === "none" ? 1 : 2;
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
alias Four = vec4<${type}>;
var<workgroup> aSlab: array<array<array<${type}, ${blockA}>, ${down}>, ${groups}>;
var<workgroup> bSlab: array<array<array<${type}, ${blockB}>, ${across}>, ${lanes}>;
var<workgroup> staged: array<array<f32, ${staged * M * N}>, ${lanes * groups}>;
${loadsOf(v)}
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
  let subRow = sub / ${lanes}u % ${groups}u;
  let subCol = sub % ${lanes}u;
  ${matricesOf(v)
    .map(([i, j]) => `var acc${i}_${j} = Result();`)
    .join("\n  ")}
  ${v.extra ? lowLoops(v).join("\n  ") : ""}
  ${mainLoop(v)}
  ${epilogue(v)}
}
`;
};

/** Declarations that loads need beside those of the header. */
function loadsOf(v: MatmulSubgroupMatrixVariant): string {
  const half = v.tile.matrix.type === "f16";
  // one rounding; weights above f16's range take its end, never infinity
  const narrow = half ? "Four(clamp(x, vec4f(-65504), vec4f(65504)))" : "x";
  const lines = [`fn four(x: vec4f) -> Four { return ${narrow}; }`];
  if (!v.transB && rawOfB(v) === "vec2u") lines.push(WIDEN);
  if (v.extra) {
    const packed = half ? [] : [fourLoads("a2", true, "vec4f", false, true)];
    lines.push(...packed, fourLoads("b2", v.transB, "vec4f", false, v.vecExtra));
  }
  return lines.join("\n");
}

/** Four elements of b, WGSL, from element `at`, with a vec4u of eight elements in `word` where the variant has that. */
function fourOfB(v: MatmulSubgroupMatrixVariant, at: string, word: string, second: boolean): string {
  const half = v.tile.matrix.type === "f16";
  if (v.eightB) {
    const pair = `${word}.${second ? "zw" : "xy"}`;
    if (v.b === "f16") return half ? `bitcast<vec4<f16>>(${pair})` : `vec4f(bitcast<vec4<f16>>(${pair}))`;
    return `four(widen(${pair}))`;
  }
  if (v.b === "f16" && half && v.vecB) return `b[(${at}) / 4u]`;
  return `four(bAt4(${at}))`;
}

/** Products of the slabs, all steps. */
function multiply(v: MatmulSubgroupMatrixVariant): string {
  const { stage, matrix } = v.tile;
  const { down, across } = sizesOf(v);
  const { ld } = slabsOf(v.tile);
  const lines: string[] = [];
  for (const kk of range(stage / matrix.k).map((step) => step * matrix.k)) {
    if (matrix.emulate) {
      for (const [i, j] of matricesOf(v))
        lines.push(`multiply(subRow, ${i}u, subCol, ${j}u, ${kk}u, &acc${i}_${j}, lane);`);
      continue;
    }
    const load = (as: string, block: string, major: string) => {
      return matrix.older
        ? `subgroupMatrixLoad<${as}>(&${block}, ${kk}u, ${major === "col_major"}, ${ld}u)`
        : `subgroupMatrixLoad<${as}, ${major}>(&${block}, ${kk}u, ${ld}u)`;
    };
    for (const i of range(down)) lines.push(`let l${kk}_${i} = ${load("Left", `aSlab[subRow][${i}]`, "row_major")};`);
    for (const j of range(across))
      lines.push(`let r${kk}_${j} = ${load("Right", `bSlab[subCol][${j}]`, "col_major")};`);
    for (const [i, j] of matricesOf(v))
      lines.push(`acc${i}_${j} = subgroupMatrixMultiplyAccumulate(l${kk}_${i}, r${kk}_${j}, acc${i}_${j});`);
  }
  return lines.join("\n    ");
}

/** Loop over the whole sum: the next slab is loaded while this one is multiplied. No edges: rows past the end repeat the last. */
function mainLoop(v: MatmulSubgroupMatrixVariant): string {
  const { stage, matrix } = v.tile;
  const half = matrix.type === "f16";
  const unit = v.eightB ? 8 : 1;
  const places: string[] = [];
  const loads: string[] = [];
  const stores: string[] = [];
  for (const { name, id, eight, outer, along, guard } of movesOf(v)) {
    if (name === "a") {
      const [per, raw] = half ? [8, "vec4u"] : [4, "vec4f"];
      const words = range(8 / per).map((w) => `${id}_${w}`);
      places.push(
        `let ${id}At = (aAt + min(tileRow + ${outer}, params.m - 1u) * params.lda + ${along}) / ${per}u;`,
        ...words.map((word) => `var ${word} = ${raw}();`),
      );
      loads.push(`${guard}{ ${words.map((word, w) => `${word} = a[${id}At + slab / ${per}u + ${w}u];`).join(" ")} }`);
      const values = half
        ? ["xy", "zw"].map((pair) => `bitcast<vec4<f16>>(${words[0]}.${pair})`)
        : words.map((word) => word);
      stores.push(
        `${guard}{ ${values.map((value, w) => `let f${w} = ${value}; ${put(v, "a", outer, `${along} + ${w * 4}u`, `f${w}`)}`).join(" ")} }`,
      );
      continue;
    }
    if (eight) {
      places.push(`let ${id}At = bAt + min(column(tileCol, ${outer}, n), n - 1u) * params.ldb + ${along};`);
      if (v.eightB) {
        places.push(`var ${id}_0 = vec4u();`);
        loads.push(`${guard}{ ${id}_0 = b[(${id}At + slab) / ${unit}u]; }`);
      } else {
        places.push(...range(2).map((w) => `var ${id}_${w} = Four();`));
        const four = (w: number) => `${id}_${w} = ${fourOfB(v, `${id}At + slab + ${w * 4}u`, "", w === 1)};`;
        loads.push(`${guard}{ ${four(0)} ${four(1)} }`);
      }
      const value = (w: number) => (v.eightB ? fourOfB(v, "", `${id}_0`, w === 1) : `${id}_${w}`);
      stores.push(
        `${guard}{ ${range(2)
          .map((w) => `let f${w} = ${value(w)}; ${put(v, "b", outer, `${along} + ${w * 4}u`, `f${w}`)}`)
          .join(" ")} }`,
      );
      continue;
    }
    places.push(
      `let ${id}At = bAt + (${along}) * params.ldb + min(tileCol + ${outer}, (n - 1u) / 4u * 4u);`,
      ...range(4).map((e) => `var ${id}_${e} = ${rawOfB(v)}();`),
    );
    const line = (e: number) => `${id}_${e} = ${rawLoad(v, `${id}At + (slab + ${e}u) * params.ldb`)};`;
    loads.push(`${guard}{ ${range(4).map(line).join(" ")} }`);
    stores.push(`${guard}{
      ${range(4)
        .map((e) => `let g${e} = ${rawFour(v, `${id}_${e}`)};`)
        .join(" ")}
      ${turned(v, outer, along)} }`);
  }
  return `{
  let begin = ${v.split ? "min(group.z * params.splitSteps, k)" : "0u"};
  let end = ${v.split ? "min(begin + params.splitSteps, k)" : "k"};
  ${places.join("\n  ")}
  { let slab = begin;
    ${loads.join("\n    ")} }
  for (var at = begin; at < end; at += ${stage}u) {
    workgroupBarrier();
    ${stores.join("\n    ")}
    workgroupBarrier();
    if (at + ${stage}u < end) {
    let slab = at + ${stage}u;
    ${loads.join("\n    ")}
    }
    ${multiply(v)}
  }
  }`;
}

// b not transposed: what is loaded stays as it is until it is stored, in half the registers

const rawOfB = ({ b, vecB }: MatmulSubgroupMatrixVariant) => {
  if (!vecB || b === "int8" || b === "nf4") return "vec4f";
  return b === "bf16" ? "vec2u" : b === "f16" ? "vec4<f16>" : "vec4f";
};
const rawLoad = (v: MatmulSubgroupMatrixVariant, at: string) =>
  v.vecB && v.b !== "int8" && v.b !== "nf4" ? `b[(${at}) / 4u]` : `bAt4(${at})`;
const rawFour = (v: MatmulSubgroupMatrixVariant, raw: string) => {
  const type = rawOfB(v);
  if (type === "vec4<f16>") return v.tile.matrix.type === "f16" ? raw : `vec4f(${raw})`;
  return type === "vec2u" ? `four(widen(${raw}))` : `four(${raw})`;
};

/** Loop over a low-rank sum, with zeros past its end. */
function lowLoop(v: MatmulSubgroupMatrixVariant, { half: only, aAt }: Operands): string {
  const { stage, matrix } = v.tile;
  const { tileCols } = sizesOf(v);
  const half = matrix.type === "f16";
  const moves = movesOf(v).map(({ name, eight, outer, along, guard }) => {
    if (name === "a") {
      const row = `min(tileRow + ${outer}, params.m - 1u)`;
      const values = half
        ? ["xy", "zw"].map((pair) => `bitcast<vec4<f16>>(word.${pair})`)
        : range(2).map((w) => `a2Four(${row}, slab + ${along} + ${w * 4}u, rank, lowAt, params.lda2)`);
      const word = half ? `let word = a[(${aAt} + ${row} * params.lda + slab + ${along}) / 8u];` : "";
      return `${guard}{ ${word} ${values
        .map((value, w) => `let f${w} = ${value}; ${put(v, "a", outer, `${along} + ${w * 4}u`, `f${w}`)}`)
        .join(" ")} }`;
    }
    const ldb = v.transB ? "rank" : "n";
    if (eight) {
      const index = `${only === undefined ? "column" : "pair"}(tileCol, ${outer}, n)`;
      const own = only === undefined ? "" : ` && ${outer} / ${tileCols / 2}u == ${only}u`;
      const four = (w: number) =>
        `var f${w} = Four(); if (index < ${only === undefined ? "n" : "n / 2u"}${own}) { f${w} = four(b2Four(index, slab + ${along} + ${w * 4}u, rank, low2At, ${ldb})); } ${put(v, "b", outer, `${along} + ${w * 4}u`, `f${w}`)}`;
      return `${guard}{ let index = ${index}; ${range(2).map(four).join(" ")} }`;
    }
    const line = (e: number) =>
      `var g${e} = Four(); if (slab + ${along} + ${e}u < rank) { g${e} = four(b2Four(tileCol + ${outer}, slab + ${along} + ${e}u, n, low2At, ${ldb})); }`;
    return `${guard}{ ${range(4).map(line).join(" ")}
      ${turned(v, outer, along)} }`;
  });
  return `for (var slab = 0u; slab < rank; slab += ${stage}u) {
    workgroupBarrier();
    ${moves.join("\n    ")}
    workgroupBarrier();
    ${multiply(v)}
  }`;
}

/** Loops over the low-rank part of the sum: one loop, or for swiglu one per half of the columns. */
function lowLoops(v: MatmulSubgroupMatrixVariant): string[] {
  const swiglu = v.pairs === "swiglu";
  const own = ownOf(v);
  const half = v.tile.matrix.type === "f16";
  return range(swiglu ? 2 : 1).map((h) => {
    const of = (field: "r" | "a2At" | "b2At") => (swiglu ? `params.${field}${h}` : own(field));
    return `{
  let lowAt = ${of("a2At")};
  let low2At = ${of("b2At")};
  let rank = ${of("r")};
  ${lowLoop(v, { aAt: half ? "params.lda2 + lowAt" : null, low: true, half: swiglu ? h : undefined })}
  }`;
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
function emulatedFunctions({ tile }: MatmulSubgroupMatrixVariant): string {
  const { m: M, n: N, k: K, size } = tile.matrix;
  const { ld } = slabsOf(tile);
  return `
alias Result = array<f32, ${(M * N) / size}>;
fn multiply(subRow: u32, i: u32, subCol: u32, j: u32, kk: u32, acc: ptr<function, Result>, lane: u32) {
  let once = min(params.m, 1u); // without this, Mesa unrolls these loops and compiles for minutes
  for (var e = 0u; e < ${(M * N) / size}u * once; e++) {
    let left = (e * ${size}u + lane) / ${N}u * ${ld}u + kk;
    let right = (e * ${size}u + lane) % ${N}u * ${ld}u + kk;
    for (var s = 0u; s < ${K}u * once; s++) {
      (*acc)[e] = fma(f32(aSlab[subRow][i][left + s]), f32(bSlab[subCol][j][right + s]), (*acc)[e]);
    }
  }
}
fn put(acc: Result, sub: u32, at: u32, lane: u32) {
  for (var e = 0u; e < ${(M * N) / size}u; e++) { staged[sub][at + e * ${size}u + lane] = acc[e]; }
}`;
}

/** `finish`: stores the staged matrix of each subgroup, at (firstRow, firstPlace) of its share. */
function finishFunction(v: MatmulSubgroupMatrixVariant): string {
  const { rows, cols, lanes, groups, matrix } = v.tile;
  const [N, count] = [matrix.n, matrix.m * matrix.n];
  const paired = v.pairs !== "none";
  const scale = matrix.type === "f16" ? "scales[min(i, params.m - 1u)] * " : "";
  return `
fn finish(thread: u32, firstRow: u32, firstPlace: u32, tileCol: u32, part: u32, n: u32, cAt: u32${v.bias === "none" ? "" : ", biasAt: u32"}) {
  for (var e = thread; e < ${lanes * groups * count}u; e += ${sizesOf(v).threads}u) {
    let owner = e / ${count}u;
    let i = firstRow + owner / ${lanes}u * ${rows}u + e / ${N}u % ${matrix.m}u;
    let place = firstPlace + owner % ${lanes}u * ${paired ? cols / 2 : cols}u + e % ${N}u;
    let sum = ${scale}staged[owner][e % ${count}u];
    ${paired ? `let second = ${scale}staged[owner][e % ${count}u + ${count}u];` : ""}
    ${storeSum(v, "place", "sum", "second")}
  }
}`;
}

/** Stores the sums: one matrix, or one pair, of each subgroup at a time. */
function epilogue(v: MatmulSubgroupMatrixVariant): string {
  const { m: M, n: N, emulate, older } = v.tile.matrix;
  const { across, groups, lanes } = { ...sizesOf(v), ...v.tile };
  const paired = v.pairs !== "none";
  const store = (i: number, j: number, offset: number) => {
    const at = `${offset * M * N}u`;
    if (emulate) return `put(acc${i}_${j}, sub, ${at}, lane);`;
    const to = `&staged[sub % ${lanes * groups}u], ${at}, acc${i}_${j}`;
    return older ? `subgroupMatrixStore(${to}, false, ${N}u);` : `subgroupMatrixStore<row_major>(${to}, ${N}u);`;
  };
  const biasAt = v.bias === "none" ? "" : ", biasAt";
  const stored = matricesOf(v)
    .filter(([, j]) => !paired || j < across / 2)
    .map(
      ([i, j]) => `
  ${store(i, j, 0)}
  ${paired ? store(i, j + across / 2, 1) : ""}
  workgroupBarrier();
  finish(thread, tileRow + ${i * M}u, ${j * N}u, tileCol, part, n, cAt${biasAt});
  workgroupBarrier();`,
    );
  return stored.join("");
}
