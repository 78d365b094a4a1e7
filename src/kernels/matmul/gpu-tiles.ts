import { type MatrixTile, matrixBytes } from "../../../shaders/matmul/lib/slabs.ts";
import { stagedBytes } from "../../../shaders/matmul/lib/staged.ts";
import type { MatmulTile, MatmulVariant } from "../../../shaders/matmul/lib/variant.ts";
import type { RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { direct, FEW_ROWS, staged } from "./tile-shapes.ts";

/** Workgroup memory that WebGPU guarantees, in bytes. */
const SHARED = 16384;

/** Most steps of the sum per slab of tiles of matrices: sums that they compute are multiples of it. */
export const STAGE = 32;

// GPUs stage both operands in workgroup memory. Devices with subgroup matrices can also use those.

/**
 * Tiles worth trying on a GPU with enough workgroup memory; the first is the default without measurements. The more
 * values a thread keeps in registers, the larger the share of multiply-adds in its instructions. bench/LOG.md lists all
 * experiments.
 */
export function gpuTiles(gpu: GpuContext, transB: boolean): MatmulTile[] {
  const bytes = Math.max(SHARED, gpu.limits.maxComputeWorkgroupStorageSize ?? 0);
  return [
    staged(8, 8, 16, 16, 16),
    staged(8, 4, 16, 16, 16),
    staged(4, 8, 16, 16, 16),
    staged(8, 8, 8, 8, 16),
    staged(4, 8, 16, 8, 16),
    staged(4, 4, 16, 16, 16),
    direct(8, transB ? 2 : 4, 32, 4, 0),
    direct(4, 4, 64, 4, 0),
    ...(gpu.features.matrix?.type === "f32" ? matrixTiles(gpu) : []), // matrices of f16 round: `precision` decides
  ].filter((tile) => tile.stage === 0 || tile.matrix || stagedBytes({ tile }) <= bytes);
}

/** Whether products that fit are computed by this device's matrix units of f16. */
export function usesMatrices({ features, precision }: Pick<GpuContext, "features" | "precision">): boolean {
  return precision === "high" && features.matrix?.type === "f16";
}

/** Whether any product may be computed by matrix units: those of f32 round nothing. */
export function anyMatrices(gpu: Pick<GpuContext, "features" | "precision">): boolean {
  return gpu.features.matrix?.type === "f32" || usesMatrices(gpu);
}

/**
 * Tiles of subgroup matrices, the largest first, on devices that have them and enough workgroup memory.
 *
 * @param paired for products that store pairs of columns, which take more of it
 */
export function matrixTiles(
  { features, limits }: Pick<GpuContext, "features" | "limits">,
  paired = false,
): MatrixTile[] {
  const { matrix } = features;
  if (!matrix) return [];
  const tile = (down: number, across: number, lanes: number, groups: number, stage = STAGE): MatrixTile => {
    const [rows, cols] = [down * matrix.m, across * matrix.n];
    return { rows, cols, lanes, groups, stage, broadcast: 0, steps: 4, matrix };
  };
  const [tall, wide] = [32 / matrix.m, 32 / matrix.n]; // matrices of 32 rows, of 32 columns
  const all = [
    tile(2 * tall, wide, 4, 2),
    tile(tall, wide, 4, 2),
    tile(tall, wide, 2, 2),
    tile(tall, wide, 2, 2, STAGE / 2), // fits 16 KiB
  ];
  return all.filter((tile) => {
    const threads = tile.lanes * tile.groups * matrix.size;
    return (
      tile.stage % matrix.k === 0 &&
      threads % matrix.multiple === 0 &&
      threads <= limits.maxComputeInvocationsPerWorkgroup &&
      matrixBytes(tile, paired) <= limits.maxComputeWorkgroupStorageSize
    );
  });
}

/**
 * A GPU's form of x·Wᵀ for few rows; null for more rows, other products, and CPU adapters.
 *
 * Lanes and pieces depend only on the adapter and the weights: a row's sums are the same bits in every batch.
 */
export function rowsTile(
  gpu: GpuContext,
  { transA, transB, dropout, pairs }: Pick<MatmulVariant, "transA" | "transB" | "dropout" | "pairs">,
  { m, parts }: { m: number; parts: readonly { n: number; k: number }[] },
): RowsTile | null {
  const { profile } = gpu;
  if (profile.fewRows === "tiles" || transA || !transB || m > FEW_ROWS || dropout === "b") return null;
  const size = profile.subgroup?.size ?? 0;
  const subgroup = [16, 32, 64].includes(size);
  const lanes = subgroup ? size : 32;
  const n = parts.reduce((sum, part) => sum + part.n, 0);
  // narrow outputs need as many workgroups as possible
  const cols = n >= 4096 ? 4 : n >= 1024 || pairs !== "none" ? 2 : 1;
  const rows = [1, 2, 4, 8].find((rows) => m <= rows) ?? 16;
  const asks = subgroup && profile.subgroup!.asks;
  return { kind: "rows", rows, cols, lanes, groups: 128 / lanes, subgroup, ...(asks && { asks }) };
}
