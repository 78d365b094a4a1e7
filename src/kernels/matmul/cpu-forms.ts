import type { GpuContext } from "../../gpu/context.ts";
import { inTexture, isQuantized, view } from "../../gpu/tensor.ts";
import type { Product } from "./product-spec.ts";

// Products that read their operands as textures: faster on one CPU adapter, see AdapterProfile.operands.

/**
 * From this many rows, a copy of an operand costs little compared to the product: for `a` (equally long) and for `b`.
 */
const COPY_A = 8;
const COPY_B = 64;

/**
 * The operands that a product reads as textures, in terms of `MatmulVariant`.
 *
 * @param readable rows of both operands begin at whole texels, and no operand is staged
 */
export function textureReads(
  { storage }: GpuContext,
  { a, b, parts, transB, ldb }: Product,
  readable: boolean,
): { texels: "none" | "b" | "ab"; stripsB: boolean } {
  const { m } = parts[0];
  if (!readable || !storage.reads(b) || !(inTexture(b) || m >= COPY_B)) return { texels: "none", stripsB: false };
  const n = parts.reduce((sum, part) => sum + part.n, 0);
  const wholeRows = !transB && ldb === b.shape[1] && parts.every(({ bAt = 0 }) => bAt % ldb === 0);
  return {
    texels: m >= COPY_A && n >= COPY_B && a.dtype === "f32" && storage.reads(a) ? "ab" : "b",
    stripsB: wholeRows && storage.strips(b),
  };
}

/**
 * Rows of b per block when a product reads down its columns as texels. About as many pages as the second-level TLB of a
 * core holds; the columns of a tile fit its second-level cache, so that the next rows of `a` find them there.
 */
const ROWS_AT_ONCE = 4096;

/** Splits a product into several sums of a few thousand steps each, added in order; null if one sum is as fast. */
export function inPieces({ profile }: GpuContext, product: Product): Product[] | null {
  if (profile.operands !== "textures") return null;
  const { b, transA, transB, ldb, parts, low, bias, dropout, epilogue, accumulate } = product;
  const [part] = parts;
  const pieces = Math.round(part.k / ROWS_AT_ONCE);
  const whole = transA || transB || parts.length > 1 || low || bias || dropout || epilogue || b.shape[1] !== ldb;
  if (whole || pieces < 2 || part.m < COPY_A || isQuantized(b.dtype)) return null;
  const step = 64 * Math.ceil(part.k / pieces / 64);
  const { aAt = 0, bAt = 0 } = part;
  const first = bAt / ldb;
  if (!Number.isInteger(first)) return null;
  return Array.from({ length: Math.ceil(part.k / step) }, (_, i) => {
    const k = Math.min(step, part.k - i * step);
    const own = { ...part, k, aAt: aAt + i * step, bAt: bAt + i * step * ldb };
    const rest = { ...product, accumulate: accumulate || i > 0 };
    if (inTexture(b)) return { ...rest, parts: [own] };
    return { ...rest, b: view(b, [k, ldb], (first + i * step) * ldb), parts: [{ ...own, bAt: 0 }] };
  });
}
