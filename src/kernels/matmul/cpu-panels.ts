import { WIDEN_CODES } from "../../../shaders/matmul/widen.wgsl.ts";
import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { isQuantized } from "../../gpu/tensor.ts";
import { halfOf, type Part, type Product } from "./product-spec.ts";
import { widen } from "./widen.ts";

// Products of many rows with a quantised matrix. A tile of such a product would widen each code again for every 16 rows; here a panel
// of rows of the matrix is widened once to f32, and the product with the panel is an ordinary one.

/** From this many rows, widening costs less than what it saves. */
const LEAST_ROWS = 64;
/** Rows of a panel, where it has them as columns of the output: whole tiles. */
const GRAIN = 64;

/** Rows of the matrix, `count` from `first` on. */
interface Rows {
  first: number;
  count: number;
}

/** One product with a panel: the rows that the panel has, in order, and the product, whose b is replaced by the panel. */
interface Piece {
  rows: readonly Rows[];
  product: Product;
}

/** Whether an adapter widens b of products with m rows: then the product's kernels and tiles are those of f32. */
export function widensPanels(
  { profile }: GpuContext,
  { b, m, transA }: { b: string; m: number; transA: boolean },
): boolean {
  return profile.panelBytes > 0 && (b === "int8" || b === "nf4") && m >= LEAST_ROWS && !transA;
}

/** Records a product with a quantised b by panels of f32. @returns false: it is not such a product, or has no whole rows */
export function recordPanels(
  record: Recorder,
  product: Product,
  recordProduct: (record: Recorder, product: Product) => void,
): boolean {
  const { b, parts, transA } = product;
  if (!isQuantized(b.dtype) || !widensPanels(record.gpu, { b: b.dtype, m: parts[0].m, transA })) return false;
  const most = record.gpu.profile.panelBytes / 4;
  const pieces = product.transB ? columnPieces(product, most) : stepPieces(product, most);
  if (!pieces) return false;
  for (const { rows, product: piece } of pieces) {
    const { ldb } = piece;
    const matrix = record.empty([heightOf({ rows }), ldb], "f32", `${b.label}.f32`, "scratch");
    let at = 0;
    for (const { first, count } of rows) {
      widen(record, b, matrix, { first: first * ldb, count: count * ldb, at: at * ldb });
      at += count;
    }
    recordProduct(record, { ...piece, b: record.gpu.storage.panel(matrix, record) ?? matrix });
    record.release(matrix);
  }
  return true;
}

/** Whether the parts read whole rows of b, which begin at whole words, and rows of a that begin at whole texels. */
function wholeRows({ b, lda, ldb, parts, transB }: Product): boolean {
  return (
    lda % 4 === 0 &&
    ldb % WIDEN_CODES === 0 &&
    b.shape[1] === ldb &&
    parts.every(({ aAt = 0, bAt = 0, k, n }) => aAt % 4 === 0 && bAt % ldb === 0 && (transB ? k : n) === ldb)
  );
}

/** dy·W: pieces of the sum, added in order; the low-rank part comes with the first. */
function stepPieces(product: Product, most: number): Piece[] | null {
  const { parts, ldb, dropout, epilogue } = product;
  const [part] = parts;
  if (parts.length > 1 || epilogue || part.k === 0 || !wholeRows(product)) return null;
  if (dropout && dropout.on !== "extra") return null;
  return (
    cut(part.k, ldb, 8, most)?.map(({ first, count }, i): Piece => {
      const own = { ...part, k: count, aAt: (part.aAt ?? 0) + first, bAt: 0 };
      const rows = [{ first: (part.bAt ?? 0) / ldb + first, count }];
      if (i === 0) return { rows, product: { ...product, parts: [own] } };
      const rest = { ...product, low: null, bias: null, dropout: null, accumulate: true };
      return { rows, product: { ...rest, parts: [{ ...own, r: 0 }] } };
    }) ?? null
  );
}

/** x·Wᵀ: pieces of the output's columns. */
function columnPieces(product: Product, most: number): Piece[] | null {
  const { parts, ldb, dropout, epilogue } = product;
  if (!wholeRows(product) || dropout?.on === "b" || dropout?.on === "extra") return null;
  if (epilogue?.kind === "swiglu") return gatedPieces(product, most);
  const half = halfOf(epilogue);
  const grain = half > 1 && (2 * half) % GRAIN !== 0 ? GRAIN * half : Math.max(GRAIN, 2 * half);
  const all: Piece[] = [];
  for (const [p, part] of parts.entries()) {
    const cuts = cut(part.n, ldb, grain, most);
    if (!cuts) return null;
    for (const { first, count } of cuts) {
      const own = moved(part, first, count);
      const rows = [{ first: (part.bAt ?? 0) / ldb + first, count }];
      const before = all[all.length - 1];
      // parts share a panel where they fit
      if (p > 0 && before && first === 0 && heightOf(before) + count <= most / ldb) {
        const others = [...before.product.parts];
        others[p] = { ...own, bAt: heightOf(before) * ldb };
        all[all.length - 1] = { rows: [...before.rows, ...rows], product: { ...product, parts: others } };
      } else {
        const none = parts.map((other) => ({ ...other, n: 0, bAt: 0 })); // keep their numbers
        none[p] = { ...own, bAt: 0 };
        all.push({ rows, product: { ...product, parts: none } });
      }
    }
  }
  return all.map(({ rows, product: piece }) => ({ rows: joined(rows), product: piece }));
}

/** silu(x·Gᵀ)·(x·Uᵀ): a panel has rows of both halves. */
function gatedPieces(product: Product, most: number): Piece[] | null {
  const { parts, ldb, epilogue, bias } = product;
  const [part] = parts;
  if (epilogue?.kind !== "swiglu" || parts.length > 1 || bias) return null;
  const half = part.n / 2;
  const begin = (part.bAt ?? 0) / ldb;
  return (
    cut(half, 2 * ldb, GRAIN, most)?.map(({ first, count }): Piece => {
      const [gate, up] = epilogue.low.map((low) => ({ ...low, b2At: (low.b2At ?? 0) + first * (low.r ?? 0) }));
      const own = { ...part, n: 2 * count, bAt: 0, cAt: (part.cAt ?? 0) + first };
      return {
        rows: joined([
          { first: begin + first, count },
          { first: begin + half + first, count },
        ]),
        product: { ...product, parts: [own], epilogue: { kind: "swiglu", low: [gate, up] } },
      };
    }) ?? null
  );
}

/** A part's columns from `first` on. */
function moved(part: Part, first: number, count: number): Part {
  const { cAt = 0, biasAt = 0, b2At = 0, r = 0 } = part;
  return { ...part, n: count, cAt: cAt + first, biasAt: biasAt + first, b2At: b2At + first * r };
}

function heightOf({ rows }: Pick<Piece, "rows">): number {
  return rows.reduce((sum, { count }) => sum + count, 0);
}

/** Rows that follow each other, as one. */
function joined(rows: readonly Rows[]): Rows[] {
  const all: Rows[] = [];
  for (const { first, count } of rows) {
    const last = all[all.length - 1];
    if (last && last.first + last.count === first) last.count += count;
    else all.push({ first, count });
  }
  return all;
}

/**
 * Nearly equal pieces of `total` rows of `width` elements, each of a multiple of `grain`; null if not even that fits a panel.
 *
 * @param most elements of a panel
 */
function cut(total: number, width: number, grain: number, most: number): Rows[] | null {
  if (total * width <= most) return [{ first: 0, count: total }];
  const largest = Math.floor(most / width / grain) * grain;
  if (largest === 0) return null;
  const step = Math.ceil(total / Math.ceil(total / largest) / grain) * grain;
  return Array.from({ length: Math.ceil(total / step) }, (_, i) => {
    return { first: i * step, count: Math.min(step, total - i * step) };
  });
}
