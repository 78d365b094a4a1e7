import type { MatmulTile, MatmulVariant } from "./variant.ts";

// Workgroup memory of products by subgroup matrices.

/** A tile of subgroup matrices: `rows`, `cols` are a subgroup's and multiples of m and n, `stage` of k. */
export type MatrixTile = MatmulTile & { matrix: NonNullable<MatmulTile["matrix"]> };

/** Inputs for the memory size of a tile. */
interface Slabbed extends Pick<MatmulVariant, "transA" | "transB" | "pairs"> {
  tile: MatrixTile;
}

/** Elements of both operands' slabs and of staged results. Slab rows are padded by 16 bytes, against bank conflicts. */
export function slabsOf({ tile, transA, transB, pairs }: Slabbed) {
  const { rows, cols, lanes, groups, stage, matrix } = tile;
  const pad = matrix.type === "f16" ? 8 : 4;
  const slab = (size: number, alongSum: boolean) => {
    return alongSum
      ? { ld: stage + pad, count: size * (stage + pad) }
      : { ld: size + pad, count: stage * (size + pad) };
  };
  const [m, n] = [rows * groups, cols * lanes];
  const [left, right] = [slab(m, !transA), slab(n, transB)];
  const low = slab(m, true); // a2 is contiguous along the sum, in every layout of a
  return {
    left,
    right,
    low,
    aCount: Math.max(left.count, low.count),
    bCount: right.count,
    results: lanes * groups * matrix.m * matrix.n * (pairs === "none" ? 1 : 2),
  };
}

/** Bytes of workgroup memory of a tile. */
export function matrixBytes(of: Slabbed): number {
  const { aCount, bCount, results } = slabsOf(of);
  return (of.tile.matrix.type === "f16" ? 2 : 4) * (aCount + bCount) + 4 * results;
}
