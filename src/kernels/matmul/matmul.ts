import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { recordProduct } from "./product.ts";
import type { Product } from "./product-spec.ts";

/** A counter-based dropout mask: element (row, col) of a `[rows, cols]` array is kept with probability 1 − p. */
interface DropoutMask {
  /** the masked array: an operand as stored, or the low-rank part of the result */
  on: "a" | "b" | "extra";
  p: number;
  /** u32; the same seed gives the same mask, forward and backward */
  seed: number;
  /** columns of the masked array */
  cols: number;
}

interface MatmulOptions {
  /** a is stored [k, m] */
  transA?: boolean;
  /** b is stored [n, k] */
  transB?: boolean;
  /** `[n]`, added to every row */
  bias?: Tensor | null;
  /** low-rank factors a2 `[m, r]` and b2 (`[n, r]` with transB, else `[r, n]`), both f32: r more steps of the same sum */
  extra?: { a2: Tensor; b2: Tensor } | null;
  dropout?: DropoutMask | null;
  /** factor of the product, not of the bias */
  alpha?: number;
  /** output tensor `[m, n]`, f32, or bf16 if n is even, b is transposed and nothing accumulates; default: a new one in f32 */
  into?: Tensor;
  /** add to the values in `into` */
  accumulate?: boolean;
  label?: string;
  /** overrides the adapter's tile, for tests and benches */
  tile?: Product["tile"];
}

/**
 * `c = alpha · (a·b + a2·b2) + bias`, with either operand stored transposed. Records one dispatch.
 *
 * @param a `[m, k]`, or `[k, m]` with transA; f32, or bf16, widened exactly
 * @param b `[k, n]`, or `[n, k]` with transB; f32, f16 or bf16, widened exactly
 * @returns c `[m, n]` f32, or as `into` is: rounded to bf16, if that is bf16
 * @throws {ShapeError} `Cannot multiply x [256,896] by q_proj [896,1024]ᵀ: inner dimensions 896 and 1024 differ`
 * @see shaders/matmul/matmul.wgsl.ts, matmulReference
 */
export function matmul(record: Recorder, a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const {
    transA = false,
    transB = false,
    bias = null,
    extra = null,
    dropout = null,
    alpha = 1,
    accumulate = false,
  } = options;
  const [m, k] = transA ? [a.shape[1], a.shape[0]] : [a.shape[0], a.shape[1]];
  const [n, inner] = transB ? [b.shape[0], b.shape[1]] : [b.shape[1], b.shape[0]];
  const what = `${a.label} [${a.shape}]${transA ? "ᵀ" : ""} by ${b.label} [${b.shape}]${transB ? "ᵀ" : ""}`;
  if (a.dtype !== "f32" && a.dtype !== "bf16")
    throw new ShapeError(
      `Cannot multiply ${what}: the left operand is ${a.dtype}, but activations must be f32 or bf16`,
    );
  if (k !== inner) throw new ShapeError(`Cannot multiply ${what}: inner dimensions ${k} and ${inner} differ`);
  if (bias && bias.shape[0] !== n) throw new ShapeError(`Cannot multiply ${what}: bias [${bias.shape}] is not [${n}]`);
  const r = extra ? extra.a2.shape[1] : 0;
  if (
    extra &&
    (extra.a2.shape[0] !== m || extra.b2.shape[transB ? 0 : 1] !== n || extra.b2.shape[transB ? 1 : 0] !== r)
  ) {
    throw new ShapeError(
      `Cannot multiply ${what}: low-rank factors [${extra.a2.shape}] and [${extra.b2.shape}] do not give [${m},${n}]`,
    );
  }
  const c = options.into ?? record.empty([m, n], "f32", options.label ?? `${a.label}·${b.label}`);
  if (c.shape[0] * c.shape[1] !== m * n)
    throw new ShapeError(`Cannot multiply ${what} into ${c.label} [${c.shape}]: it is not [${m},${n}]`);
  const rounded = c.dtype === "bf16";
  if (rounded && (!transB || n % 2 !== 0 || accumulate)) {
    throw new ShapeError(
      `Cannot multiply ${what} into ${c.label} in bf16: the right operand must be transposed, its rows even in number, and nothing added to ${c.label}`,
    );
  }
  recordProduct(record, {
    a,
    b,
    c,
    transA,
    transB,
    lda: a.shape[1],
    ldb: b.shape[1],
    rowStride: n,
    colStride: 1,
    parts: [{ m, n, k, r, seed: dropout?.seed }],
    low: extra && { ...extra, lda2: r },
    bias,
    dropout,
    alpha,
    accumulate,
    epilogue: rounded ? { kind: "bf16" } : null,
    tile: options.tile,
  });
  return c;
}

/** The product in float64 on the CPU. `a` and `b` are stored as the flags say. */
export function matmulReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  [m, n, k]: readonly [number, number, number],
  { transA = false, transB = false }: { transA?: boolean; transB?: boolean } = {},
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let s = 0; s < k; s++) {
      const left = transA ? a[s * m + i] : a[i * k + s];
      for (let j = 0; j < n; j++) c[i * n + j] += left * (transB ? b[j * k + s] : b[s * n + j]);
    }
  }
  return c;
}
