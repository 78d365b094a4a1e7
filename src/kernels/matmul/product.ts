import { PART_FIELDS } from "../../../shaders/matmul/lib/header.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { codeBytes, isQuantized, sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { matmulForm } from "./matmul-form.ts";
import { matmulTile } from "./matmul-tile.ts";
import { stored, storedMatrix } from "./stored.ts";

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

/** Outputs narrower than this are computed transposed, so that lanes run along the longer side. */
const NARROW = 64;
const TURNED = { a: "b", b: "a", extra: "extra" } as const;

/** The same products transposed: b is the left operand. */
function turn(product: Product): Product {
  const { dropout } = product;
  return {
    ...product,
    a: product.b,
    b: product.a,
    transA: !product.transB,
    transB: !product.transA,
    lda: product.ldb,
    ldb: product.lda,
    rowStride: product.colStride,
    colStride: product.rowStride,
    parts: product.parts.map((part) => ({ ...part, m: part.n, n: part.m, aAt: part.bAt, bAt: part.aAt })),
    dropout: dropout && { ...dropout, on: TURNED[dropout.on] },
  };
}

/** Rows from which on a copy of an operand costs little beside the product: of `a`, which is as long, and of `b`. */
const COPY_A = 8;
const COPY_B = 64;

/** Which operands are read as texels. Both must begin rows at whole texels. */
function texelsOf({ gpu }: Recorder, { a, b, parts }: Product): "none" | "b" | "ab" {
  const { texels } = gpu;
  const { m } = parts[0];
  if (!texels?.takes(b) || !(b.texture || m >= COPY_B)) return "none";
  const n = parts.reduce((sum, part) => sum + part.n, 0);
  return m >= COPY_A && n >= COPY_B && texels.takes(a) ? "ab" : "b";
}

/**
 * Rows of b that a product takes at a time where it reads down its columns as texels: about as many pages as a core's
 * second TLB holds, and columns of a tile that fit its second-level cache, for the next rows of `a` to find there.
 */
const ROWS_AT_ONCE = 4096;

/** The same product as several sums of some thousand steps each, added up in order; null where one is as good. */
function inPieces({ gpu }: Recorder, product: Product): Product[] | null {
  const { b, transA, transB, ldb, parts, low, bias, dropout, epilogue, accumulate } = product;
  const [part] = parts;
  const pieces = Math.round(part.k / ROWS_AT_ONCE);
  const whole = transA || transB || parts.length > 1 || low || bias || dropout || epilogue || b.shape[1] !== ldb;
  if (!gpu.texels || whole || pieces < 2 || part.m < COPY_A || isQuantized(b.dtype)) return null;
  const step = 64 * Math.ceil(part.k / pieces / 64);
  const { aAt = 0, bAt = 0 } = part;
  const first = bAt / ldb;
  if (!Number.isInteger(first)) return null;
  return Array.from({ length: Math.ceil(part.k / step) }, (_, i) => {
    const k = Math.min(step, part.k - i * step);
    const own = { ...part, k, aAt: aAt + i * step, bAt: bAt + i * step * ldb };
    const rest = { ...product, accumulate: accumulate || i > 0 };
    if (b.texture) return { ...rest, parts: [own] };
    return { ...rest, b: view(b, [k, ldb], (first + i * step) * ldb), parts: [{ ...own, bAt: 0 }] };
  });
}

/** Records products, as one dispatch if it can. Shapes are the caller's: `matmul` and `lora-linear` check them. */
export function recordProduct(record: Recorder, given: Product): void {
  const narrow = given.parts.every(({ m, n }) => n <= NARROW && n < m);
  const product =
    narrow && given.b.dtype === "f32" && !given.b.texture && !given.low && !given.bias && !given.epilogue
      ? turn(given)
      : given;
  const pieces = inPieces(record, product);
  if (pieces) {
    for (const piece of pieces) recordProduct(record, piece);
    return;
  }
  const { a, b, c, transA, transB, lda, ldb, rowStride, colStride, parts, low, bias, dropout, epilogue } = product;
  const { m } = parts[0];
  if (parts.some((part) => part.m !== m)) {
    for (const part of given.parts) recordProduct(record, { ...given, parts: [part] });
    return;
  }
  const all = (field: keyof Part, multiple: number) => parts.every((part) => (part[field] ?? 0) % multiple === 0);
  const lows = epilogue?.kind === "swiglu" ? epilogue.low : parts;
  const ranks = lows.map(({ r }) => r ?? 0);
  const vecA = lda % 4 === 0 && all("aAt", 4);
  const vecB = ldb % 4 === 0 && all("bAt", 4);
  const paired = Boolean(epilogue);
  const plain = given.tile && !("kind" in given.tile) ? given.tile : null;
  const tile =
    plain ??
    matmulTile(
      record.gpu,
      transA,
      transB,
      storedMatrix(b),
      m,
      lda % 4 === 0 && ldb % 4 === 0,
      paired,
      b.texture !== undefined,
    );
  const eight = b.dtype === "bf16" && ldb % 8 === 0 && all("bAt", 8);
  const texels =
    tile.stage === 0 && vecA && (b.dtype === "f32" ? vecB : eight && (transB || tile.cols % 8 === 0))
      ? texelsOf(record, product)
      : "none";
  const variant = {
    a: "f32" as const,
    b: storedMatrix(b),
    transA,
    transB,
    vecA,
    vecB,
    eightB: eight && tile.stage === 0 && (transB ? (tile.steps ?? 4) % 8 === 0 : texels !== "none"),
    texels,
    stripsB: texels !== "none" && !transB && ldb === b.shape[1] && all("bAt", ldb) && record.gpu.texels!.strips(b),
    vecC: colStride === 1 && rowStride % 4 === 0 && all("cAt", 4) && sizeOf(c.shape) % 4 === 0 && !paired,
    extra: Boolean(low),
    vecExtra:
      Boolean(low) &&
      low!.lda2 % 4 === 0 &&
      ranks.every((r) => r % 4 === 0) &&
      lows.every(({ a2At = 0, b2At = 0 }) => a2At % 4 === 0 && b2At % 4 === 0) &&
      (transB || all("n", 4)),
    tail: parts.some(({ k }) => k % (tile.steps ?? 4) !== 0) || ranks.some((r) => r % 4 !== 0),
    bias: bias ? stored(bias) : ("none" as const),
    accumulate: product.accumulate ?? false,
    dropout: dropout?.on ?? ("none" as const),
    tile,
    parts: product.shared ? 3 : parts.length,
    pairs: epilogue?.kind ?? ("none" as const),
    half: epilogue?.kind === "rotary" ? epilogue.headDim / 2 : 0,
  };
  const own: Record<string, number> = {};
  for (let i = 0; i < Math.max(variant.parts, lows.length); i++) {
    const { r, a2At, b2At } = lows[i] ?? {};
    const values = { ...parts[i], r, a2At, b2At } as Partial<Record<(typeof PART_FIELDS)[number], number>>;
    for (const field of PART_FIELDS) own[`${field}${i}`] = values[field] ?? 0;
  }
  const eights = ldb % 8 === 0 && all("bAt", 8);
  const form = matmulForm(record.gpu, variant, { m, parts, eights }, given.tile);
  record.dispatch(
    form.shader,
    form.variant,
    {
      a,
      b,
      c,
      ...(low && { a2: low.a2, b2: low.b2 }),
      ...(bias && { bias }),
      ...(epilogue?.kind === "rotary" && { positions: epilogue.positions, table: epilogue.table }),
    },
    {
      m,
      lda,
      ldb,
      lda2: low?.lda2 ?? 0,
      rowStride,
      colStride,
      alpha: product.alpha ?? 1,
      dropout: dropout?.p ?? 0,
      dropCols: dropout?.cols ?? 0,
      bScales: codeBytes(sizeOf(b.shape), b.dtype) / 4,
      ...own,
    },
    form.grid,
    parts.reduce((work, part) => work + 2 * part.m * part.n * (part.k + (part.r ?? 0)), 0),
  );
}
