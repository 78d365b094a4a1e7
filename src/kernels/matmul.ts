import { matmul as shader } from "../../shaders/matmul.wgsl.ts";
import { ShapeError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { codeBytes, type Tensor } from "../gpu/tensor.ts";
import { matmulTile, tileGrid } from "./matmul-tile.ts";
import { stored, storedMatrix } from "./stored.ts";

/** A counter-based dropout mask: element (row, col) of a `[rows, cols]` array is kept with probability 1 − p. */
export interface DropoutMask {
  /** which array it multiplies: an operand as it is stored, or the low-rank part of the result */
  on: "a" | "b" | "extra";
  p: number;
  /** u32; the same seed gives the same mask, forward and backward */
  seed: number;
  /** columns of the masked array */
  cols: number;
}

export interface MatmulOptions {
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
  /** where to write `[m, n]`; a new tensor when absent */
  into?: Tensor;
  /** add to what `into` holds */
  accumulate?: boolean;
  label?: string;
}

/** Outputs narrower than this are computed transposed, so that lanes run along the longer side. */
const NARROW = 64;

/**
 * `c = alpha · (a·b + a2·b2) + bias`, with either operand stored transposed. Records one dispatch.
 *
 * @param a `[m, k]`, or `[k, m]` with transA; f32
 * @param b `[k, n]`, or `[n, k]` with transB; f32, f16 or bf16, widened exactly
 * @returns c `[m, n]` f32
 * @throws {ShapeError} `Cannot multiply x [256,896] by q_proj [896,1024]ᵀ: inner dimensions 896 and 1024 differ`
 * @see shaders/matmul.wgsl.ts, matmulReference
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
  if (a.dtype !== "f32")
    throw new ShapeError(`Cannot multiply ${what}: the left operand is ${a.dtype}, activations are f32`);
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
  const work = 2 * m * n * (k + r);

  const swap = n <= NARROW && n < m && b.dtype === "f32" && !extra && !bias;
  const side = swap
    ? { a: b, b: a, m: n, n: m, transA: !transB, transB: !transA, rowStride: 1, colStride: n }
    : { a, b, m, n, transA, transB, rowStride: n, colStride: 1 };
  const on = dropout?.on ?? "none";
  const lda = side.transA ? side.m : k;
  const ldb = side.transB ? k : side.n;
  const aligned = lda % 4 === 0 && ldb % 4 === 0;
  const tile = matmulTile(record.gpu, side.transA, side.transB, storedMatrix(side.b), side.m, aligned);
  const variant = {
    a: "f32" as const,
    b: storedMatrix(side.b),
    transA: side.transA,
    transB: side.transB,
    vecA: lda % 4 === 0,
    vecB: ldb % 4 === 0,
    eightB: side.transB && side.b.dtype === "bf16" && ldb % 8 === 0 && tile.stage === 0 && tile.steps === 8,
    vecC: side.colStride === 1 && side.rowStride % 4 === 0,
    extra: extra !== null,
    vecExtra: extra !== null && r % 4 === 0 && (transB || n % 4 === 0),
    tail: k % (tile.steps ?? 4) !== 0 || r % 4 !== 0,
    bias: bias ? stored(bias) : ("none" as const),
    accumulate,
    dropout: swap && on !== "extra" ? ({ a: "b", b: "a", none: "none" } as const)[on] : on,
    tile,
  };
  record.dispatch(
    shader,
    variant,
    { a: side.a, b: side.b, c, ...(extra && { a2: extra.a2, b2: extra.b2 }), ...(bias && { bias }) },
    {
      m: side.m,
      n: side.n,
      k,
      r,
      lda,
      ldb,
      rowStride: side.rowStride,
      colStride: side.colStride,
      alpha,
      seed: dropout?.seed ?? 0,
      dropout: dropout?.p ?? 0,
      dropCols: dropout?.cols ?? 0,
      bScales: codeBytes(k * side.n, side.b.dtype) / 4,
    },
    tileGrid(tile, side.m, side.n),
    work,
  );
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
