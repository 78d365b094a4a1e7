import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, type StoredMatrix, storedType } from "./lib/load.ts";
import { directLoop, range, stagedLoop } from "./lib/matmul-loops.ts";
import { randomFunctions } from "./lib/random.ts";

/** How the output is cut: into workgroup tiles of threads, and into register tiles of each thread. */
export interface MatmulTile {
  /** output rows a thread keeps in registers, a multiple of 4; 1, 2 as well where b is transposed, a not, and nothing staged */
  rows: number;
  /** output columns a thread keeps in registers; a multiple of 4 where b is not transposed */
  cols: number;
  /** threads of a workgroup along the columns */
  lanes: number;
  /** threads of a workgroup along the rows; 1 keeps every load of `a` uniform, which CPU adapters turn into scalar loads */
  groups: number;
  /** stage both operands in workgroup memory, so many steps of the sum at a time (a multiple of 4); 0 reads them directly */
  stage: number;
  /** subgroup size for which lanes share out the loads of `a` by subgroupBroadcast: 4 or 8, divides rows or is a multiple; 0 = none */
  broadcast: number;
  /** steps of the sum in one turn of the loop, where b is read directly: 4 or 8, the default 4 */
  steps?: number;
}

/** What one compiled variant is specialised to. */
export interface MatmulVariant {
  a: "f32" | "f16";
  b: StoredMatrix;
  /** a is stored [k, m] instead of [m, k] */
  transA: boolean;
  /** b is stored [n, k] instead of [k, n] */
  transB: boolean;
  /** whether rows of a, b, a2, b2 begin at multiples of 4 elements, so that four are loaded at once */
  vecA: boolean;
  vecB: boolean;
  /** rows of c are packed and begin at multiples of 4 elements; then four neighbouring sums are stored at once */
  vecC: boolean;
  /** rows of a transposed bf16 b begin at multiples of 8 elements, and eight steps are taken at once: one load */
  eightB: boolean;
  /** r more steps of the same sum from a2 [m, r] and b2 ([n, r] or [r, n], as b): the low-rank product */
  extra: boolean;
  vecExtra: boolean;
  /** whether k is no multiple of the tile's `steps`, or r none of 4; without, the loop over what is left is left out */
  tail: boolean;
  bias: "none" | Stored;
  accumulate: boolean;
  /** which value a counter-based dropout mask multiplies: an operand, or the low-rank part of the sum */
  dropout: "none" | "a" | "b" | "extra";
  tile: MatmulTile;
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
  const wideC = v.vecC && !v.transB;
  const store = (i: number, j: number) => {
    if (wideC) {
      return `if (j${j} < params.n) {
      let at = (i * params.rowStride + j${j}) / 4u;
      c[at] = ${v.accumulate ? "c[at] + " : ""}params.alpha * acc${i}_${j}${v.bias === "none" ? "" : ` + biasAt4(j${j})`};
    }`;
    }
    return range(colsPerEntry)
      .map(
        (e) => `if (j${j} + ${e}u < params.n) {
      let at = i * params.rowStride + (j${j} + ${e}u) * params.colStride;
      c[at] = ${v.accumulate ? "c[at] + " : ""}params.alpha * acc${i}_${j}${v.transB ? "" : `[${e}]`}${v.bias === "none" ? "" : ` + biasAt1(j${j} + ${e}u)`};
    }`,
      )
      .join("\n    ");
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
  lda: u32, ldb: u32, rowStride: u32, colStride: u32,
  alpha: f32, seed: u32, dropout: f32, dropCols: u32,
  bScales: u32
}

@group(0) @binding(0) var<storage, read> a: array<${storedType(v.a, v.vecA)}>;
@group(0) @binding(1) var<storage, read> b: array<${v.eightB ? "vec4u" : storedType(v.b, v.vecB)}>;
@group(0) @binding(2) var<storage, read_write> c: array<${wideC ? "vec4f" : "f32"}>;
#if ${v.extra}
@group(0) @binding(3) var<storage, read> a2: array<${storedType("f32", v.vecExtra)}>;
@group(0) @binding(4) var<storage, read> b2: array<${storedType("f32", v.vecExtra)}>;
#endif
#if ${v.bias !== "none"}
@group(0) @binding(5) var<storage, read> bias: array<${v.bias === "none" ? "f32" : storedType(v.bias, false)}>;
#endif
@group(0) @binding(6) var<uniform> params: Params;
${loadFunctions("a", v.a, v.vecA)}
${v.eightB ? EIGHT : loadFunctions("b", v.b, v.vecB, "params.bScales")}
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
      : range(Math.ceil(rows / broadcast))
          .map((g) => {
            const row = rows < broadcast ? `lane / ${broadcast / rows}u` : `${g * broadcast}u + lane`;
            return `let own${g} = min(tileRow + ${row}, params.m - 1u); // the rows that a lane loads`;
          })
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
      ? directLoop(
          v,
          {
            a: "a2",
            b: "b2",
            lda: "params.r",
            ldb: v.transB ? "params.r" : "params.n",
            k: "params.r",
            transA: false,
          },
          4,
          v.tail,
        )
      : ""
  }
#endif
#if ${v.dropout === "extra"}
  ${v.dropout === "extra" ? accumulators.map(([i, j]) => mask(i, j)).join("\n  ") : ""}
#endif
  ${stage > 0 ? stagedLoop(v) : directLoop(v, { a: "a", b: "b", lda: "params.lda", ldb: "params.ldb", k: "params.k", transA: v.transA }, v.tile.steps ?? 4, v.tail)}
  ${range(cols / colsPerEntry)
    .map((j) => `let j${j} = tileCol + (local.x + ${j * lanes}u) * ${colsPerEntry}u;`)
    .join("\n  ")}
  ${range(rows)
    .map(
      (i) => `{
    let i = tileRow + local.y * ${rows}u + ${i}u;
    if (i < params.m) {
    ${range(cols / colsPerEntry)
      .map((j) => store(i, j))
      .join("\n    ")}
    }
  }`,
    )
    .join("\n  ")}
}
`;
};
