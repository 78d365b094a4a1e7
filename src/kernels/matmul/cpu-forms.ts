import type { GpuContext } from "../../gpu/context.ts";
import { inTexture, isQuantized, view } from "../../gpu/tensor.ts";
import type { Product } from "./product-spec.ts";

// Products whose operands are read as textures, which is quicker on one CPU adapter: see AdapterProfile.operands.

/** Rows from which on a copy of an operand costs little beside the product: of `a`, which is as long, and of `b`. */
const COPY_A = 8;
const COPY_B = 64;

/**
 * How a product reads its operands as textures, as `MatmulVariant` has it.
 *
 * @param readable both begin rows at whole texels, and no operand is staged
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
    texels: m >= COPY_A && n >= COPY_B && storage.reads(a) ? "ab" : "b",
    stripsB: wholeRows && storage.strips(b),
  };
}

/**
 * Rows of b that a product takes at a time where it reads down its columns as texels: about as many pages as a core's
 * second TLB holds, and columns of a tile that fit its second-level cache, for the next rows of `a` to find there.
 */
const ROWS_AT_ONCE = 4096;

/** The same product as several sums of some thousand steps each, added up in order; null where one is as good. */
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
