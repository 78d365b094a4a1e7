import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import type { Tensor } from "../../gpu/tensor.ts";

/** One of several products in a dispatch; offsets are in elements from the start of the bound tensor. */
export interface Part {
  m: number;
  n: number;
  k: number;
  /** steps of the low-rank part of the sum; 0 = none */
  r?: number;
  /** seed of its dropout mask */
  seed?: number;
  aAt?: number;
  bAt?: number;
  cAt?: number;
  a2At?: number;
  b2At?: number;
  biasAt?: number;
}

/** The operation on pairs of columns (u, u + half) before they are stored. */
export type Epilogue =
  /** rotates the first two parts by their rows' positions, as `rotary` does */
  | { kind: "rotary"; positions: Tensor; table: Tensor; headDim: number }
  /** `silu(first)·second` of the two halves of the columns; `low`: places of each half's low-rank product */
  | { kind: "swiglu"; low: readonly [Low, Low] }
  /** rounds to bf16: c is bf16, and its rows and parts begin at whole words */
  | { kind: "bf16" };

/** The distance of a pair's columns, where they are not halves of all. */
export function halfOf(epilogue?: Epilogue | null): number {
  if (epilogue?.kind === "bf16") return 1;
  return epilogue?.kind === "rotary" ? epilogue.headDim / 2 : 0;
}

/** The place of a low-rank product in `a2` and `b2`. */
export interface Low {
  r: number;
  a2At: number;
  b2At: number;
}

/**
 * Up to three products `c = alpha·(a·b + a2·b2) + bias` over the same buffers: one dispatch if they have equally many
 * rows.
 */
export interface Product {
  /** sums are split into parts of so many steps; c is then `[count, m, n]`, see `recordSplit` */
  split?: { steps: number; count: number };
  a: Tensor;
  b: Tensor;
  c: Tensor;
  /** a is stored [k, m], b [n, k] */
  transA: boolean;
  transB: boolean;
  /** elements between stored rows of a and b */
  lda: number;
  ldb: number;
  /** elements between rows and between columns of c */
  rowStride: number;
  colStride: number;
  parts: readonly Part[];
  /** compile for three parts in any case, so that layers of one, two and three parts share a kernel */
  shared?: boolean;
  low?: { a2: Tensor; b2: Tensor; lda2: number } | null;
  bias?: Tensor | null;
  /** `row`: of the masks' array that row 0 is; default 0 */
  dropout?: { on: "a" | "b" | "extra"; p: number; cols: number; row?: number } | null;
  alpha?: number;
  accumulate?: boolean;
  epilogue?: Epilogue | null;
  /** overrides the adapter's tile, for tests and benches */
  tile?: MatmulTile | RowsTile;
}
