import type { Stored, StoredMatrix } from "../../lib/load.ts";

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
  /** steps of the sum in one turn of the loop, where b is read directly: 4, 8 or 32, the default 4 */
  steps?: number;
  /** as often a thread takes `cols` columns, one after another: with b transposed those beside, for long reads; default 1 */
  walk?: number;
  /**
   * Type of the slabs and of their products, where staged; the default f32. f16 sums four products at a time in f16, then in
   * f32: 5e-4 of the largest sum was the worst error, where f32 has 3e-7, and above 65504 they are infinite.
   */
  compute?: "f16";
  /** multiplied by subgroup matrices; `rows`, `cols` are then a subgroup's share, `lanes` and `groups` count subgroups */
  matrix?: SubgroupMatrix;
}

/** A kind of matrices [m, k] and [k, n] that an adapter multiplies, with f32 sums. */
export interface SubgroupMatrix {
  type: "f16" | "f32";
  m: number;
  n: number;
  k: number;
  /** threads of a subgroup */
  size: number;
  /** what the threads of a workgroup must be a multiple of: the adapter's largest subgroup */
  multiple: number;
  /** a subgroup of `size` must be asked for */
  asks?: true;
  /** plain functions over workgroup memory in place of the builtins: for tests on adapters without them */
  emulate?: true;
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
  /** rows of a bf16 b begin at multiples of 8 elements: transposed, eight steps are one load; else eight columns of a texel */
  eightB: boolean;
  /** operands that are read as texels: see TensorStorage */
  texels: "none" | "b" | "ab";
  /** b, f32 and not transposed, as texels in strips: parts begin at whole rows, of which `ldb` is the length */
  stripsB: boolean;
  /** r more steps of the same sum from a2 [m, r] and b2 ([n, r] or [r, n], as b): the low-rank product */
  extra: boolean;
  vecExtra: boolean;
  /** whether k is no multiple of the tile's `steps`, or r none of 4; without, the loop over what is left is left out */
  tail: boolean;
  /** products of one dispatch: each has its own n, k, r, seed and places in the buffers; at most 3 */
  parts: number;
  /**
   * What becomes of columns u and u + half before they are stored; a thread then keeps both, `cols` is even, b transposed.
   * "rotary": half of a head; the first two parts are rotated by their row's position. "swiglu": half of all columns,
   * silu(first)·second is stored, and each half has a low-rank product of its own.
   */
  pairs: "none" | "rotary" | "swiglu";
  /** of rotary: half of head_dim; 0 otherwise */
  half: number;
  bias: "none" | Stored;
  accumulate: boolean;
  /** which value a counter-based dropout mask multiplies: an operand, or the low-rank part of the sum */
  dropout: "none" | "a" | "b" | "extra";
  tile: MatmulTile;
}
