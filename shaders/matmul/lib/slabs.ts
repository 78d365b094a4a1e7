import type { MatmulTile } from "./variant.ts";

// Workgroup memory of products by subgroup matrices.

/** A tile of subgroup matrices: `rows`, `cols` are a subgroup's and multiples of m and n, `stage` of k and 8. */
export type MatrixTile = MatmulTile & { matrix: NonNullable<MatmulTile["matrix"]> };

/**
 * Elements of a slab's row and of a matrix's block of both operands. A row has all `stage` steps and 16 bytes more, so
 * that eight neighbouring rows begin in different banks.
 */
export function slabsOf({ stage, matrix }: MatrixTile) {
  const ld = stage + (matrix.type === "f16" ? 8 : 4);
  return { ld, blockA: ld * matrix.m, blockB: ld * matrix.n };
}

/** Bytes of workgroup memory of a tile. @param paired two matrices of results are staged at a time */
export function matrixBytes(tile: MatrixTile, paired: boolean): number {
  const { rows, cols, lanes, groups, matrix } = tile;
  const { ld } = slabsOf(tile);
  const operands = ld * (rows * groups + cols * lanes);
  const results = lanes * groups * matrix.m * matrix.n * (paired ? 2 : 1);
  return (matrix.type === "f16" ? 2 : 4) * operands + 4 * results;
}
