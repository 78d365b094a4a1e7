import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import type { Tensor } from "../../gpu/tensor.ts";

/** One product of several that a dispatch computes; places are elements from the start of the bound tensor. */
export interface Part {
  m: number;
  n: number;
  k: number;
  /** steps of the low-rank part of the sum; 0 = none */
  r?: number;
  /** of its dropout mask */
  seed?: number;
  aAt?: number;
  bAt?: number;
  cAt?: number;
  a2At?: number;
  b2At?: number;
  biasAt?: number;
}

/** What is done with pairs of columns (u, u + half) before they are stored. */
export type Epilogue =
  /** the first two parts are rotated by their rows' positions, as `rotary` does */
  | { kind: "rotary"; positions: Tensor; table: Tensor; headDim: number }
  /** `silu(first)·second`, the halves of all columns; `low` says where each half's low-rank product lies */
  | { kind: "swiglu"; low: readonly [Low, Low] };

/** Where a low-rank product lies in `a2` and `b2`. */
export interface Low {
  r: number;
  a2At: number;
  b2At: number;
}

/** Up to three products `c = alpha·(a·b + a2·b2) + bias` over the same buffers: one dispatch where their rows are as many. */
export interface Product {
  a: Tensor;
  b: Tensor;
  c: Tensor;
  /** a is stored [k, m], b [n, k] */
  transA: boolean;
  transB: boolean;
  /** elements between rows of a and b as they are stored */
  lda: number;
  ldb: number;
  /** elements between rows and between columns of c */
  rowStride: number;
  colStride: number;
  parts: readonly Part[];
  /** compile for three parts whatever their number, so that layers of one, two and three share a kernel */
  shared?: boolean;
  low?: { a2: Tensor; b2: Tensor; lda2: number } | null;
  bias?: Tensor | null;
  dropout?: { on: "a" | "b" | "extra"; p: number; cols: number } | null;
  alpha?: number;
  accumulate?: boolean;
  epilogue?: Epilogue | null;
  /** in place of the tile that this adapter takes: tests, benches */
  tile?: MatmulTile | RowsTile;
}
