import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "./lib/load.ts";
import { randomFunctions } from "./lib/random.ts";

/** How the output is cut: into workgroup tiles of threads, and into register tiles of each thread. */
export interface MatmulTile {
  /** output rows a thread keeps in registers, a multiple of 4 */
  rows: number;
  /** output columns a thread keeps in registers; a multiple of 4 where b is not transposed */
  cols: number;
  /** threads of a workgroup along the columns */
  lanes: number;
  /** threads of a workgroup along the rows; 1 keeps every load of `a` uniform, which CPU adapters turn into scalar loads */
  groups: number;
  /** stage both operands in workgroup memory, so many steps of the sum at a time (a multiple of 4); 0 reads them directly */
  stage: number;
  /** subgroup size for which lanes share out the loads of `a` by subgroupBroadcast: 4 or 8, divides rows; 0 = none */
  broadcast: number;
  /** steps of the sum in one turn of the loop, where b is read directly: 4 or 8, the default 4 */
  steps?: number;
}

/** What one compiled variant is specialised to. */
export interface MatmulVariant {
  a: "f32" | "f16";
  b: Stored;
  /** a is stored [k, m] instead of [m, k] */
  transA: boolean;
  /** b is stored [n, k] instead of [k, n] */
  transB: boolean;
  /** whether rows of a, b, a2, b2 begin at multiples of 4 elements, so that four are loaded at once */
  vecA: boolean;
  vecB: boolean;
  /** rows of a transposed bf16 b begin at multiples of 8 elements, and eight steps are taken at once: one load */
  eightB: boolean;
  /** r more steps of the same sum from a2 [m, r] and b2 ([n, r] or [r, n], as b): the low-rank product */
  extra: boolean;
  vecExtra: boolean;
  bias: "none" | Stored;
  accumulate: boolean;
  /** which value a counter-based dropout mask multiplies: an operand, or the low-rank part of the sum */
  dropout: "none" | "a" | "b" | "extra";
  tile: MatmulTile;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One operand pair of the sum: load functions and leading dimensions, as WGSL names. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  k: string;
  transA: boolean;
}

/** WGSL of `steps` of the sum, read straight from memory; `s` is the first. */
function directSteps(v: MatmulVariant, o: Operands, steps: number): string {
  const lines: string[] = [];
  const left = loadLeft(v, o, steps, lines);
  const load = loadRight(v, o, steps, lines);
  const { rows, cols } = v.tile;
  const width = v.transB && steps > 1 ? 4 : 1; // steps that one load of b covers
  for (const first of range(steps / width).map((c) => c * width)) {
    const values = range(width).map((t) => left(first + t));
    for (const j of range(v.transB ? cols : cols / 4)) {
      lines.push(`let w${first}_${j} = ${load(j, first)};`);
      for (const i of range(rows)) {
        let sum = `acc${i}_${j}`;
        for (const t of range(width)) {
          const x = v.transB ? values[t][i] : `vec4f(${values[t][i]})`;
          sum = `fma(${x}, w${first}_${j}${width > 1 ? `[${t}]` : ""}, ${sum})`;
        }
        lines.push(`acc${i}_${j} = ${sum};`);
      }
    }
  }
  return lines.join("\n    ");
}

/**
 * Loads of `a` for `steps` steps. The result writes what step t needs and names its rows' values.
 *
 * With `broadcast` every load is shared out: each lane loads four elements of its own, which the others get from it.
 */
function loadLeft(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (t: number) => string[] {
  const { rows, broadcast } = v.tile;
  const drop = v.dropout === "a" && o.a === "a";
  if (steps === 1) {
    const index = (i: number) => (o.transA ? `s * ${o.lda} + row${i}` : `left${i} + s`);
    for (const i of range(rows)) lines.push(`let u${i} = ${o.a}At1(${index(i)})${drop ? ` * keep1(row${i}, s)` : ""};`);
    return () => range(rows).map((i) => `u${i}`);
  }
  let element: (i: number, t: number) => string;
  let owner: (i: number, t: number) => number;
  if (o.transA) {
    // A load covers four rows of a step. Lanes take the steps, and where there are more lanes than steps, more rows.
    const along = broadcast > 0 ? Math.min(steps, broadcast) : 1;
    const across = broadcast > 0 ? broadcast / along : 1;
    for (const t of range(steps / along)) {
      for (const g of range(rows / 4 / across)) {
        const step = broadcast > 0 ? `s + ${t * along}u + lane % ${along}u` : `s + ${t}u`;
        const row = `row0 + ${4 * across * g}u${across > 1 ? ` + lane / ${along}u * 4u` : ""}`;
        lines.push(`let u${t}_${g} = ${o.a}At4((${step}) * ${o.lda} + ${row});`);
      }
    }
    element = (i, t) => `u${Math.floor(t / along)}_${Math.floor((i >> 2) / across)}[${i & 3}]`;
    owner = (i, t) => (t % along) + along * ((i >> 2) % across);
  } else {
    // A load covers four steps of a row. Lanes take the rows.
    const each = broadcast || 1;
    for (const g of range(rows / each)) {
      const row = broadcast > 0 ? `own${g}` : `row${g}`;
      for (const c of range(steps / 4)) {
        const mask = drop ? ` * keep4(${row}, s + ${4 * c}u)` : "";
        lines.push(`let u${g}_${c} = ${o.a}At4(left${g} + s + ${4 * c}u)${mask};`);
      }
    }
    element = (i, t) => `u${Math.floor(i / each)}_${t >> 2}[${t & 3}]`;
    owner = (i) => i % each;
  }
  return (t) => {
    if (broadcast === 0) return range(rows).map((i) => element(i, t));
    for (const i of range(rows)) lines.push(`let x${i}_${t} = subgroupBroadcast(${element(i, t)}, ${owner(i, t)}u);`);
    return range(rows).map((i) => `x${i}_${t}`);
  };
}

/** Loads of `b`: the expression for entry j from step t on, four steps with transB, else one step of four columns. */
function loadRight(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (j: number, t: number) => string {
  const drop = v.dropout === "b" && o.b === "b";
  if (!v.transB) {
    return (j, t) => `${o.b}At4((s + ${t}u) * ${o.ldb} + col${j})${drop ? ` * keep4(s + ${t}u, col${j})` : ""}`;
  }
  const width = steps > 1 ? 4 : 1;
  const eight = steps > 1 && v.eightB && o.b === "b";
  if (eight) {
    for (const t of range(steps / 8))
      for (const j of range(v.tile.cols)) lines.push(`let q${8 * t}_${j} = b[(right${j} + s) / 8u + ${t}u];`);
  }
  return (j, t) => {
    const mask = drop ? ` * keep${width}(col${j}, s + ${t}u)` : "";
    if (eight) return `widen(q${t - (t % 8)}_${j}.${t % 8 < 4 ? "xy" : "zw"})${mask}`;
    return `${o.b}At${width}(right${j} + s + ${t}u)${mask}`;
  };
}

/** Loop over the whole sum, without workgroup memory. */
function directLoop(v: MatmulVariant, o: Operands): string {
  const { rows, cols, broadcast, steps = 4 } = v.tile;
  const left = o.transA ? [] : range(rows).map((i) => `let left${i} = row${i} * ${o.lda};`);
  const right = v.transB ? range(cols).map((j) => `let right${j} = col${j} * ${o.ldb};`) : [];
  const shared =
    !o.transA && broadcast > 0 ? range(rows / broadcast).map((g) => `let left${g} = own${g} * ${o.lda};`) : left;
  return `{
  ${right.join("\n  ")}
  var s = 0u;
  {
    ${shared.join("\n    ")}
    for (; s + ${steps}u <= ${o.k}; s += ${steps}u) {
    ${directSteps(v, o, steps)}
    }
  }
  ${left.join("\n  ")}
  for (; s < ${o.k}; s++) {
    ${directSteps(v, o, 1)}
  }
  }`;
}

/** Loop over the whole sum, a slab of `stage` steps at a time through workgroup memory. */
function stagedLoop(v: MatmulVariant) {
  const { rows, cols, lanes, groups, stage } = v.tile;
  const threads = lanes * groups;
  const m = rows * groups;
  const n = cols * lanes;
  // Each slab is [stage][m / 4] and [stage][n / 4] vec4: the inner loop then reads both along the output.
  const fill = (name: "a" | "b", size: number, alongK: boolean, base: string, bound: string, ld: string) => {
    const drop = v.dropout === name;
    if (alongK) {
      // stored with the sum along the row: load 4 steps of one output index, scatter them over 4 slab rows
      const n4 = (size * stage) / 4;
      return `
    for (var t = thread; t < ${n4}u; t += ${threads}u) {
      let outer = ${base} + t / ${stage / 4}u;
      let s = slab + (t % ${stage / 4}u) * 4u;
      var value = vec4f();
      if (outer < ${bound}) {
        if (s + 4u <= params.k) { value = ${name}At4(outer * ${ld} + s)${drop ? " * keep4(outer, s)" : ""}; }
        else {
          for (var e = 0u; s + e < params.k; e++) { value[e] = ${name}At1(outer * ${ld} + s + e)${drop ? " * keep1(outer, s + e)" : ""}; }
        }
      }
      for (var e = 0u; e < 4u; e++) { ${name}Slab[((t % ${stage / 4}u) * 4u + e) * ${size}u + t / ${stage / 4}u] = value[e]; }
    }`;
    }
    return `
    for (var t = thread; t < ${(size * stage) / 4}u; t += ${threads}u) {
      let outer = ${base} + (t % ${size / 4}u) * 4u;
      let s = slab + t / ${size / 4}u;
      var value = vec4f();
      if (s < params.k) {
        if (outer + 4u <= ${bound}) { value = ${name}At4(s * ${ld} + outer)${drop ? " * keep4(s, outer)" : ""}; }
        else {
          for (var e = 0u; outer + e < ${bound}; e++) { value[e] = ${name}At1(s * ${ld} + outer + e)${drop ? " * keep1(s, outer + e)" : ""}; }
        }
      }
      let at = (t / ${size / 4}u) * ${size}u + (t % ${size / 4}u) * 4u;
      for (var e = 0u; e < 4u; e++) { ${name}Slab[at + e] = value[e]; }
    }`;
  };
  const inner: string[] = [];
  for (const i of range(rows)) inner.push(`let u${i} = aSlab[s * ${m}u + local.y * ${rows}u + ${i}u];`);
  for (const j of range(v.transB ? cols : cols / 4)) {
    if (v.transB) {
      inner.push(`let w${j} = bSlab[s * ${n}u + local.x + ${j * lanes}u];`);
      for (const i of range(rows)) inner.push(`acc${i}_${j} = fma(u${i}, w${j}, acc${i}_${j});`);
    } else {
      const at = `s * ${n}u + (local.x + ${j * lanes}u) * 4u`;
      inner.push(`let w${j} = vec4f(bSlab[${at}], bSlab[${at} + 1u], bSlab[${at} + 2u], bSlab[${at} + 3u]);`);
      for (const i of range(rows)) inner.push(`acc${i}_${j} = fma(vec4f(u${i}), w${j}, acc${i}_${j});`);
    }
  }
  return `
  for (var slab = 0u; slab < params.k; slab += ${stage}u) {
    ${fill("a", m, !v.transA, "tileRow", "params.m", "params.lda")}
    ${fill("b", n, v.transB, "tileCol", "params.n", "params.ldb")}
    workgroupBarrier();
    for (var s = 0u; s < ${stage}u; s++) {
      ${inner.join("\n      ")}
    }
    workgroupBarrier();
  }`;
}

/** Reads of a bf16 b in words of eight elements. */
const EIGHT = `
fn widen(w: vec2u) -> vec4f {
  return vec4f(bitcast<f32>(w.x << 16u), bitcast<f32>(w.x & 0xffff0000u), bitcast<f32>(w.y << 16u), bitcast<f32>(w.y & 0xffff0000u));
}
fn bAt1(i: u32) -> f32 {
  let w = b[i / 8u][(i / 2u) & 3u];
  return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
}`;

// matmul: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c]
//
// Grid     x: tiles of rows, so that neighbours share the columns' weights in cache; y: tiles of columns
// Shapes   a [m, k] or [k, m]   b [k, n] or [n, k]   a2 [m, r]   b2 [r, n] or [n, r]   bias [n]   c [m, n] at (rowStride, colStride)
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  sums are f32 whatever is stored; bf16 is widened exactly
export const matmul = (v: MatmulVariant) => {
  const { rows, cols, lanes, groups, stage, broadcast } = v.tile;
  const colsPerEntry = v.transB ? 1 : 4; // accumulators hold single columns, or four neighbours
  const accumulators = range(rows).flatMap((i) => range(cols / colsPerEntry).map((j) => [i, j] as const));
  const entry = v.transB ? "f32" : "vec4f";
  const store = (i: number, j: number, e: number) => {
    const col = v.transB ? `tileCol + local.x + ${j * lanes}u` : `tileCol + (local.x + ${j * lanes}u) * 4u + ${e}u`;
    const value = v.transB ? `acc${i}_${j}` : `acc${i}_${j}[${e}]`;
    return `{
    let i = tileRow + local.y * ${rows}u + ${i}u;
    let j = ${col};
    if (i < params.m && j < params.n) {
      let at = params.start + i * params.rowStride + j * params.colStride;
      c[at] = ${v.accumulate ? "c[at] + " : ""}params.alpha * ${value}${v.bias === "none" ? "" : " + biasAt1(j)"};
    }
  }`;
  };
  const mask = (i: number, j: number) =>
    v.transB ? `acc${i}_${j} *= keep1(row${i}, col${j});` : `acc${i}_${j} *= keep4(row${i}, col${j});`;
  return wgsl`
#if ${v.a === "f16" || v.b === "f16" || v.bias === "f16"}
enable f16;
#endif
#if ${broadcast > 0}
enable subgroups;
#endif

struct Params {
  m: u32, n: u32, k: u32, r: u32,
  lda: u32, ldb: u32, start: u32, rowStride: u32, colStride: u32,
  alpha: f32, seed: u32, dropout: f32, dropCols: u32
}

@group(0) @binding(0) var<storage, read> a: array<${storedType(v.a, v.vecA)}>;
@group(0) @binding(1) var<storage, read> b: array<${v.eightB ? "vec4u" : storedType(v.b, v.vecB)}>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
#if ${v.extra}
@group(0) @binding(3) var<storage, read> a2: array<${storedType("f32", v.vecExtra)}>;
@group(0) @binding(4) var<storage, read> b2: array<${storedType("f32", v.vecExtra)}>;
#endif
#if ${v.bias !== "none"}
@group(0) @binding(5) var<storage, read> bias: array<${v.bias === "none" ? "f32" : storedType(v.bias, false)}>;
#endif
@group(0) @binding(6) var<uniform> params: Params;
${loadFunctions("a", v.a, v.vecA)}
${v.eightB ? EIGHT : loadFunctions("b", v.b, v.vecB)}
#if ${v.extra}
${loadFunctions("a2", "f32", v.vecExtra)}
${loadFunctions("b2", "f32", v.vecExtra)}
#endif
#if ${v.bias !== "none"}
${v.bias === "none" ? "" : loadFunctions("bias", v.bias, false)}
#endif
#if ${v.dropout !== "none"}
${randomFunctions}
fn keep1(row: u32, col: u32) -> f32 {
  return select(0.0, 1.0 / (1.0 - params.dropout), uniform01(params.seed, row * params.dropCols + col) >= params.dropout);
}
fn keep4(row: u32, col: u32) -> vec4f { return vec4f(keep1(row, col), keep1(row, col + 1u), keep1(row, col + 2u), keep1(row, col + 3u)); }
#endif
#if ${stage > 0}
var<workgroup> aSlab: array<f32, ${stage * rows * groups}>;
var<workgroup> bSlab: array<f32, ${stage * cols * lanes}>;
#endif

@compute @workgroup_size(${lanes}, ${groups})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${broadcast > 0}
  @builtin(subgroup_invocation_id) lane: u32,
#endif
) {
  let tileRow = group.x * ${rows * groups}u;
  let tileCol = group.y * ${cols * lanes}u;
  // Past the edge a thread works on the last rows and columns again and stores nothing.
  ${range(rows)
    .map((i) => {
      const last = v.transA && i === 0 ? "(params.m - 1u) / 4u * 4u" : "params.m - 1u"; // row0 is where vec4 loads begin
      return `let row${i} = min(tileRow + ${groups === 1 ? "" : `local.y * ${rows}u + `}${i}u, ${last});`;
    })
    .join("\n  ")}
  ${
    broadcast === 0
      ? ""
      : range(rows / broadcast)
          .map(
            (g) =>
              `let own${g} = min(tileRow + ${g * broadcast}u + lane, params.m - 1u); // the rows that a lane loads`,
          )
          .join("\n  ")
  }
  ${range(cols / colsPerEntry)
    .map((j) =>
      v.transB
        ? `let col${j} = min(tileCol + local.x + ${j * lanes}u, params.n - 1u);`
        : `let col${j} = min(tileCol + (local.x + ${j * lanes}u) * 4u, (params.n - 1u) / 4u * 4u);`,
    )
    .join("\n  ")}
  ${accumulators.map(([i, j]) => `var acc${i}_${j} = ${entry}();`).join("\n  ")}
#if ${v.extra}
  ${
    v.extra
      ? directLoop(v, {
          a: "a2",
          b: "b2",
          lda: "params.r",
          ldb: v.transB ? "params.r" : "params.n",
          k: "params.r",
          transA: false,
        })
      : ""
  }
#endif
#if ${v.dropout === "extra"}
  ${v.dropout === "extra" ? accumulators.map(([i, j]) => mask(i, j)).join("\n  ") : ""}
#endif
  ${stage > 0 ? stagedLoop(v) : directLoop(v, { a: "a", b: "b", lda: "params.lda", ldb: "params.ldb", k: "params.k", transA: v.transA })}
  ${accumulators.flatMap(([i, j]) => range(colsPerEntry).map((e) => store(i, j, e))).join("\n  ")}
}
`;
};
