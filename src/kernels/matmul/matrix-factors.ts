import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { inTexture } from "../../gpu/tensor.ts";
import { matrixTiles, STAGE, usesMatrices } from "./gpu-tiles.ts";
import { matmulTile } from "./matmul-tile.ts";
import { fitsMatrices, recordMatrices } from "./matrix-product.ts";
import { packColumns, packRows } from "./pack-rows.ts";
import type { Part, Product } from "./product-spec.ts";
import { recordSplit, splitFor } from "./split-sums.ts";
import { FEW_ROWS } from "./tile-shapes.ts";

// Products of trained matrices on matrix units: LoRA's factors (x·Aᵀ, dy·B) and gradients (dyᵀ·h, dhᵀ·x, dyᵀ·x). Neither operand
// is a checkpoint's weight: both are activations, gradients or young factors, of any size. So the rows of b are scaled by powers
// of two, as those of a are, and the inverse of a row's power is a factor of that step of the sum in a.

/** Columns of a factor of LoRA at most: a wider right operand is a frozen weight, which is not packed again in every product. */
const MOST_COLUMNS = 64;
/** Sums of fewer steps are not worth packing both operands. */
const LEAST_STEPS = 64;

/** Whether a product is one of these, with nothing masked and nothing done to its sums. */
function fits(product: Product): boolean {
  const { a, b, transA, transB, parts, low, bias, dropout, epilogue, split } = product;
  if (split || transB || low || bias || dropout || epilogue) return false;
  if (b.dtype !== "f32" || inTexture(a) || inTexture(b)) return false;
  const wide = ({ m, n }: Part) => (transA ? Math.max(m, n) > FEW_ROWS : m > FEW_ROWS && n <= MOST_COLUMNS);
  return parts.every(
    (part) => part.k >= LEAST_STEPS && wide(part) && part.n % 4 === 0 && (!transA || part.m % 4 === 0),
  );
}

/** Parts whose columns of a, and whose rows of c, follow each other as those of one: the gradients of adjacent factors. */
function joined({ parts, rowStride }: Product): readonly Part[] {
  const [first] = parts;
  let m = 0;
  for (const part of parts) {
    const apart = part.aAt !== (first.aAt ?? 0) + m || part.cAt !== (first.cAt ?? 0) + m * rowStride;
    if (apart || part.n !== first.n || part.k !== first.k || (part.bAt ?? 0) !== (first.bAt ?? 0)) return parts;
    m += part.m;
  }
  return [{ ...first, m }];
}

/** A gradient with more columns than rows, the other way round: its rows are what workgroups share. */
function upright(product: Product): Product {
  const [{ m, n, aAt, bAt, ...rest }] = product.parts;
  if (!product.transA || m >= n) return product;
  const { a, b, lda, ldb, rowStride, colStride } = product;
  const parts = [{ ...rest, m: n, n: m, aAt: bAt, bAt: aAt }];
  return { ...product, a: b, b: a, lda: ldb, ldb: lda, rowStride: colStride, colStride: rowStride, parts };
}

/**
 * Records a product of trained matrices on matrix units, if it is one and the device has them.
 *
 * @returns whether it did
 */
export function recordFactors(record: Recorder, product: Product): boolean {
  const { tile, transA, parts } = product;
  const forced = tile && !("kind" in tile) && tile.matrix?.type === "f16" ? tile : null;
  const able = usesMatrices(record.gpu) && !tile && matrixTiles(record.gpu).length > 0;
  if (!(able || forced) || !fits(product)) return false;
  for (const part of transA ? joined(product) : parts) {
    recordOne(record, upright({ ...product, parts: [part] }), forced);
  }
  return true;
}

function recordOne(record: Recorder, product: Product, forced: MatmulTile | null): void {
  const { gpu } = record;
  const { a, b, transA, lda, ldb } = product;
  const [{ m, n, k, aAt = 0, bAt = 0, cAt = 0 }] = product.parts;
  const steps = STAGE * Math.ceil(k / STAGE);
  const width = 8 * Math.ceil(n / 8);
  const right = packRows(record, b, null, { rows: steps, filled: k, k: n, lda: ldb, aAt: bAt, ld: width });
  const left = transA
    ? packColumns(record, a, right.scales, { m, k, lda, aAt, ld: steps })
    : packRows(record, a, null, { rows: m, k, lda, aAt, ld: steps, factors: right.scales });
  const whole: Product = {
    ...product,
    a: left.packed,
    b: right.packed,
    transA: false,
    transB: false,
    lda: steps,
    ldb: width,
    parts: [{ m, n, k: steps, cAt }],
    shared: false,
  };
  const split = forced ? null : splitFor(m, n, steps);
  const ask = { transA: false, transB: false, b: "f16" as const, m, n, aligned: true, matrices: true };
  const recordPart = (inner: Recorder, part: Product) => recordMatrices(inner, part, part.tile as MatmulTile, left); // recordSplit chooses among tiles of matrices
  if (split) recordSplit(record, whole, split, recordPart);
  else recordMatrices(record, whole, forced ?? matmulTile(gpu, ask), left);
  record.release(left.packed, left.scales, right.packed, right.scales);
}

/** The parts of a product of few columns, each by itself, where matrix units can compute each as it is: x·Aᵀ. Null for others. */
export function straight({ gpu }: Pick<Recorder, "gpu">, product: Product): Product[] | null {
  if (!usesMatrices(gpu) || product.transA || !product.transB || product.tile || product.epilogue) return null;
  const alone = product.parts.map((part) => ({ ...product, parts: [part], shared: false }));
  return alone.every((one) => fitsMatrices(one, "f16")) ? alone : null;
}
