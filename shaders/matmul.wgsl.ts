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
  /** subgroup size for which a lane loads one step of `a` and passes it on by subgroupBroadcast: 4 or 8; 0 = none */
  broadcast: number;
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
  const { rows, cols, broadcast } = v.tile;
  const wide = steps > 1;
  const shared = wide && broadcast > 0; // each lane loads one step, the others get it by broadcast
  const dropA = v.dropout === "a" && o.a === "a";
  const dropB = v.dropout === "b" && o.b === "b";
  const lines: string[] = [];
  const atA = (i: number, s: string) => (o.transA ? `(${s}) * ${o.lda} + row${i}` : `row${i} * ${o.lda} + ${s}`);
  let element: (i: number, s: number) => string;
  if (shared || !wide) {
    const s = shared ? "s + lane" : "s";
    for (const i of range(rows))
      lines.push(`let u${i} = ${o.a}At1(${atA(i, s)})${dropA ? ` * keep1(row${i}, ${s})` : ""};`);
    element = (i, t) => (shared ? `u${i}_${t}` : `u${i}`);
  } else if (o.transA) {
    for (const t of range(4)) {
      for (const i of range(rows / 4))
        lines.push(`let u${t}_${i} = ${o.a}At4((s + ${t}u) * ${o.lda} + row0 + ${4 * i}u);`);
    }
    element = (i, t) => `u${t}_${i >> 2}[${i & 3}]`;
  } else {
    for (const i of range(rows))
      lines.push(`let u${i} = ${o.a}At4(${atA(i, "s")})${dropA ? ` * keep4(row${i}, s)` : ""};`);
    element = (i, t) => `u${i}[${t}]`;
  }
  const spread = (t: number) => {
    if (shared) for (const i of range(rows)) lines.push(`let u${i}_${t} = subgroupBroadcast(u${i}, ${t}u);`);
  };
  if (v.transB) {
    for (const chunk of range(Math.ceil(steps / 4))) {
      const width = wide ? 4 : 1;
      const s = chunk === 0 ? "s" : `s + ${4 * chunk}u`;
      for (const t of range(width)) spread(4 * chunk + t);
      for (const j of range(cols)) {
        const drop = dropB ? ` * keep${width}(col${j}, ${s})` : "";
        lines.push(`let w${chunk}_${j} = ${o.b}At${width}(col${j} * ${o.ldb} + ${s})${drop};`);
        for (const i of range(rows)) {
          let sum = `acc${i}_${j}`;
          for (const t of range(width)) {
            sum = `fma(${element(i, 4 * chunk + t)}, w${chunk}_${j}${wide ? `[${t}]` : ""}, ${sum})`;
          }
          lines.push(`acc${i}_${j} = ${sum};`);
        }
      }
    }
  } else {
    for (const t of range(steps)) {
      spread(t);
      for (const j of range(cols / 4)) {
        const drop = dropB ? ` * keep4(s + ${t}u, col${j})` : "";
        lines.push(`let w${t}_${j} = ${o.b}At4((s + ${t}u) * ${o.ldb} + col${j})${drop};`);
        for (const i of range(rows))
          lines.push(`acc${i}_${j} = fma(vec4f(${element(i, t)}), w${t}_${j}, acc${i}_${j});`);
      }
    }
  }
  return lines.join("\n    ");
}

/** Loop over the whole sum, without workgroup memory. */
function directLoop(v: MatmulVariant, o: Operands): string {
  const steps = v.tile.broadcast || 4;
  return `{
  var s = 0u;
  for (; s + ${steps}u <= ${o.k}; s += ${steps}u) {
    ${directSteps(v, o, steps)}
  }
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

// matmul: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c]
//
// Grid     x: tiles of rows, so that neighbours share the columns' weights in cache; y: tiles of columns
// Shapes   a [m, k] or [k, m]   b [k, n] or [n, k]   a2 [m, r]   b2 [r, n] or [n, r]   bias [n]   c [m, n] at (rowStride, colStride)
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  sums are f32 whatever is stored; bf16 is widened exactly
export const matmul = (v: MatmulVariant) => {
  const { rows, cols, lanes, groups, stage, broadcast } = v.tile;
  const wideA = v.vecA && broadcast === 0; // with broadcast each lane reads single elements
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

@group(0) @binding(0) var<storage, read> a: array<${storedType(v.a, wideA)}>;
@group(0) @binding(1) var<storage, read> b: array<${storedType(v.b, v.vecB)}>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
#if ${v.extra}
@group(0) @binding(3) var<storage, read> a2: array<${storedType("f32", v.vecExtra && broadcast === 0)}>;
@group(0) @binding(4) var<storage, read> b2: array<${storedType("f32", v.vecExtra)}>;
#endif
#if ${v.bias !== "none"}
@group(0) @binding(5) var<storage, read> bias: array<${v.bias === "none" ? "f32" : storedType(v.bias, false)}>;
#endif
@group(0) @binding(6) var<uniform> params: Params;
${loadFunctions("a", v.a, wideA)}
${loadFunctions("b", v.b, v.vecB)}
#if ${v.extra}
${loadFunctions("a2", "f32", v.vecExtra && broadcast === 0)}
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
