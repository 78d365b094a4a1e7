import type { MatrixTile } from "../../../shaders/matmul/lib/slabs.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import { matmulSubgroupMatrix } from "../../../shaders/matmul/matmul-subgroup-matrix.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { inTexture, isQuantized } from "../../gpu/tensor.ts";
import { STAGE } from "./gpu-tiles.ts";
import { type PackedRows, packRows } from "./pack-rows.ts";
import { paramsOf } from "./product-params.ts";
import { halfOf, type Low, type Product } from "./product-spec.ts";
import { stored, storedMatrix } from "./stored.ts";
import { FEW_ROWS, tileGrid } from "./tile-shapes.ts";

// Products on an adapter's matrix units. Rows of a are scaled, rounded to f16 and packed first, with their low-rank rows
// behind them; weights are rounded to f16 on their way into workgroup memory.

/** Low-rank parts of a product: with swiglu, one of each half of the columns. */
const lowsOf = ({ epilogue, parts }: Product): readonly Partial<Low>[] =>
  epilogue?.kind === "swiglu" ? epilogue.low : parts;

/** Columns that a low-rank part of `r` columns takes behind packed rows: those begin at multiples of 8 elements. */
const placeOf = (r: number) => 8 * Math.ceil(r / 8);

/** The rank of all low-rank parts, where they lie side by side, so that each can be moved to a multiple of 8 elements; else 0. */
function rankOf(low: Product["low"], lows: readonly Partial<Low>[]): number {
  const rank = Math.max(0, ...lows.map(({ r = 0 }) => r));
  const fits = lows.every(({ r = 0, a2At = 0 }) => r === 0 || (r === rank && a2At % rank === 0));
  return low && rank > 0 && fits && low.lda2 % rank === 0 ? rank : 0;
}

/** Whether packed rows can have low-rank rows as they lie. */
const lieWhole = (lows: readonly Partial<Low>[]) => lows.every(({ r = 0, a2At = 0 }) => r % 8 === 0 && a2At % 8 === 0);

/**
 * Whether matrix units can compute a product: its sums have whole slabs, rows begin where wide loads can, a is not
 * transposed, and nothing is masked.
 *
 * @param type of the matrices: f16 reads packed rows, f32 reads a itself
 */
export function fitsMatrices(product: Product, type: "f16" | "f32"): boolean {
  const { a, b, transA, transB, lda, ldb, parts, low, dropout } = product;
  const [{ m, k, aAt = 0 }] = parts;
  const unit = transB && !isQuantized(b.dtype) && b.dtype !== "f32" ? 8 : 4;
  const lows = low ? lowsOf(product) : [];
  return (
    !transA &&
    !dropout &&
    (type === "f16" || (a.dtype === "f32" && lda % 4 === 0 && aAt % 4 === 0)) &&
    !inTexture(b) &&
    m > FEW_ROWS &&
    k > 0 &&
    ldb % unit === 0 &&
    parts.every((part) => part.k === k && part.m === m && (part.aAt ?? 0) === aAt) &&
    k % STAGE === 0 &&
    parts.every(({ bAt = 0, n }) => bAt % unit === 0 && (transB || n % 4 === 0)) &&
    (lieWhole(lows) || (type === "f16" && rankOf(low, lows) > 0))
  );
}

/**
 * Records a product for which `fitsMatrices` holds, with a tile of matrices: two dispatches if its operands are f16.
 *
 * @param given a's packed rows, which the caller releases; default: they are packed here
 */
export function recordMatrices(
  record: Recorder,
  product: Product,
  tile: MatmulTile,
  given: PackedRows | null = null,
): void {
  const { a, b, c, transB, lda, parts, low, bias, epilogue } = product;
  const { matrix } = tile as MatrixTile;
  const [{ m, k, aAt = 0 }] = parts;
  const half = matrix.type === "f16";
  const own = lowsOf(product);
  const rank = rankOf(low, own);
  const spread = low && !lieWhole(own);
  const lows = spread ? own.map((each) => ({ ...each, a2At: ((each.a2At ?? 0) / rank) * placeOf(rank) })) : own;
  // a low-rank part is read in whole slabs too, past its end: zeros of b make nothing of what lies there
  const ends = low ? lows.map(({ r = 0, a2At = 0 }) => a2At + STAGE * Math.ceil(r / STAGE)) : [0];
  const width = spread ? (low.lda2 / rank) * placeOf(rank) : (low?.lda2 ?? 0);
  const ld = k + Math.max(width, ...ends);
  const size = { rows: m, k, lda, aAt, ld: 8 * Math.ceil(ld / 8), ...(spread && { rank, place: placeOf(rank) }) };
  const rows = given ?? (half ? packRows(record, a, low?.a2 ?? null, size) : null);
  const all = (n: number | undefined, multiple: number) => (n ?? 0) % multiple === 0;
  const variant = {
    a: rows ? ("f16" as const) : ("f32" as const),
    ...(rows && { packed: true as const }),
    b: storedMatrix(b),
    transA: false,
    transB,
    vecA: rows !== null || (all(lda, 4) && all(aAt, 4)),
    vecB: true,
    eightB: transB && (b.dtype === "bf16" || b.dtype === "f16"),
    texels: "none" as const,
    stripsB: false,
    vecC: false,
    extra: Boolean(low),
    vecExtra:
      Boolean(low) &&
      (rows !== null || all(low!.lda2, 4)) &&
      lows.every(({ b2At, r }) => all(b2At, 4) && (!transB || all(r, 4))) &&
      (transB || parts.every(({ n }) => all(n, 4))),
    tail: false,
    bias: bias ? stored(bias) : ("none" as const),
    accumulate: product.accumulate ?? false,
    dropout: "none" as const,
    tile: tile as MatrixTile,
    parts: product.shared ? 3 : parts.length,
    pairs: epilogue?.kind ?? ("none" as const),
    half: halfOf(epilogue),
    ...(product.split && { split: true }),
  };
  const params = paramsOf(product, Math.max(variant.parts, lows.length), lows);
  if (rows) {
    params.lda = rows.packed.shape[1];
    params.lda2 = k;
    for (let i = 0; i < variant.parts; i++) params[`aAt${i}`] = 0;
  }
  const grids = parts.map(({ n }) => tileGrid(tile, m, n));
  const grid = [grids[0][0], grids.reduce((sum, [, y]) => sum + y, 0)] as const;
  record.dispatch(
    matmulSubgroupMatrix,
    variant,
    {
      a: rows ? rows.packed : a,
      b,
      c,
      ...(rows && { scales: rows.scales }),
      ...(low && { b2: low.b2, ...(!rows && { a2: low.a2 }) }),
      ...(bias && { bias }),
      ...(epilogue?.kind === "rotary" && { positions: epilogue.positions, table: epilogue.table }),
    },
    params,
    product.split ? [...grid, product.split.count] : grid,
    parts.reduce((work, { n }, i) => work + 2 * m * n * (k + (lows[i]?.r ?? 0)), 0),
  );
  if (rows && !given) record.release(rows.packed, rows.scales);
}
