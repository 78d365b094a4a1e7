import type { Stored, StoredMatrix } from "../../lib/load.ts";

/** How the output is divided: into tiles per workgroup, and register tiles per thread. */
export interface MatmulTile {
  /**
   * output rows in a thread's registers: a multiple of 4, or also 1 or 2 if a is not transposed, and nothing is staged
   */
  rows: number;
  /** output columns in a thread's registers; a multiple of 4 if b is not transposed */
  cols: number;
  /** threads per workgroup along the columns */
  lanes: number;
  /**
   * threads per workgroup along the rows; with 1, every load of `a` is uniform, so that CPU adapters use scalar loads
   */
  groups: number;
  /** steps of the sum per slab in workgroup memory (a multiple of 4); 0 reads operands directly */
  stage: number;
  /** subgroup size for sharing loads of `a`: 4 or 8, a divisor or multiple of rows; 0 = none */
  broadcast: number;
  /** steps of the sum per loop iteration if b is read directly: 4, 8 or 32; default 4 */
  steps?: number;
  /**
   * number of times a thread processes `cols` columns in turn; with b transposed, adjacent ones, for long reads;
   * default 1
   */
  walk?: number;
  /** columns whose products are computed before those of the next, by the same values of a; with b transposed; default: all */
  colsAtOnce?: number;
  /**
   * Type of staged slabs and their products; default f32. f16 sums groups of four products in f16, then in f32. Its
   * worst error was 5e-4 of the largest sum (f32: 3e-7), and values above 65504 become infinite.
   */
  compute?: "f16";
  /** use subgroup matrices; `rows` and `cols` are then per subgroup, `lanes` and `groups` count subgroups */
  matrix?: SubgroupMatrix;
}

/** A matrix configuration [m, k] × [k, n] of an adapter, with f32 sums. */
export interface SubgroupMatrix {
  type: "f16" | "f32";
  m: number;
  n: number;
  k: number;
  /** threads per subgroup */
  size: number;
  /** the adapter's largest subgroup: threads per workgroup must be a multiple of it */
  multiple: number;
  /** the kernel must request the subgroup size `size` */
  asks?: true;
  /** the builtins take the layout as an argument, as Dawn had it before `subgroupMatrixLoad<T, col_major>` */
  older?: true;
  /** emulate the builtins with functions over workgroup memory, for tests on adapters without them */
  emulate?: true;
}

/** Compile-time parameters of a variant. */
export interface MatmulVariant {
  a: "f32" | "f16" | "bf16";
  b: StoredMatrix;
  /** a is stored [k, m] instead of [m, k] */
  transA: boolean;
  /** b is stored [n, k] instead of [k, n] */
  transB: boolean;
  /**
   * b transposed and read directly: sum four steps among themselves, then add them. Half the error of one chain over all steps, for
   * one addition more in four multiply-adds, which CPU adapters hide behind loads. Bits still do not depend on the tile
   */
  fours?: boolean;
  /** whether rows of a, b, a2, b2 begin at multiples of 4 elements, so that vec4 loads are possible */
  vecA: boolean;
  vecB: boolean;
  /** rows of c are packed and begin at multiples of 4 elements; four neighbouring sums are then stored together */
  vecC: boolean;
  /**
   * rows of a bf16 b begin at multiples of 8 elements: one load then covers eight steps (transposed) or eight columns
   * of a texel; of an f16 b too in subgroup matrices
   */
  eightB: boolean;
  /** operands read as texels: see TensorStorage */
  texels: "none" | "b" | "ab";
  /** b (f32, not transposed) as texels in strips: parts begin at whole rows of length `ldb` */
  stripsB: boolean;
  /** the low-rank product: r more steps of the same sum from a2 [m, r] and b2 ([n, r] or [r, n], like b) */
  extra: boolean;
  vecExtra: boolean;
  /** whether k is not a multiple of the tile's `steps`, or r not of 4; otherwise the remainder loop is omitted */
  tail: boolean;
  /** products per dispatch: each has its own n, k, r, seed and buffer offsets; at most 3 */
  parts: number;
  /**
   * Operation on columns u and u + half before they are stored; a thread then holds both, `cols` is even, and b is
   * transposed. "rotary": half is half a head; the first two parts are rotated by their row's position. "swiglu": half
   * is half of all columns; silu(first)·second is stored, and each half has its own low-rank product. "bf16": half is 1; both
   * are stored in one word of c, rounded to bf16.
   */
  pairs: "none" | "rotary" | "swiglu" | "bf16";
  /** for rotary: half of head_dim; for bf16: 1; else 0 */
  half: number;
  bias: "none" | Stored;
  accumulate: boolean;
  /** target of the counter-based dropout mask: an operand, or the low-rank part of the sum */
  dropout: "none" | "a" | "b" | "extra";
  /** a is as pack_rows writes it, with the low-rank rows behind its own: for matrices of f16 */
  packed?: true;
  /** the grid's z has parts of the sum, of `splitSteps` each; staged only, without what is done to a whole sum */
  split?: boolean;
  tile: MatmulTile;
}
