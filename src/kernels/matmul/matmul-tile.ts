import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { cpuTiles, fixedTile, type TileAsk } from "./cpu-tiles.ts";
import { gpuTiles } from "./gpu-tiles.ts";
import { FEW_ROWS } from "./tile-shapes.ts";

/** Tiles worth trying on an adapter; the first is the default without measurements. */
export function tileCandidates(
  gpu: GpuContext,
  transA: boolean,
  transB: boolean,
  b: StoredMatrix = "bf16",
  m: number = FEW_ROWS + 1,
): MatmulTile[] {
  const { profile } = gpu;
  return profile.tiles === "staged" ? gpuTiles(gpu, transB) : cpuTiles(profile, { transA, transB, b, m });
}

/** A tile for a product that matrices cannot compute. */
export function plainTile(gpu: GpuContext, transB: boolean, m: number): MatmulTile {
  const tiles = tileCandidates(gpu, false, transB).filter(({ matrix }) => !matrix);
  return tiles.find(({ rows, groups }) => rows * groups < 2 * m) ?? tiles[tiles.length - 1];
}

/** Key of a measured winner: the properties that affect which tile is best. */
export function tileKey(transA: boolean, transB: boolean, b: StoredMatrix, m: number): string {
  return `matmul ${transA ? "t" : "n"}${transB ? "t" : "n"} ${b}${m <= FEW_ROWS ? " few" : ""}`;
}

/**
 * The tile for a product: the measured winner on this adapter, else the first candidate that wastes few rows. CPU
 * adapters never measure some products.
 */
export function matmulTile(gpu: GpuContext, ask: TileAsk): MatmulTile {
  const { transA, transB, b, m, paired = false } = ask;
  const fixed = fixedTile(gpu.profile, ask);
  if (fixed) return fixed;
  const fits = ({ cols, matrix }: MatmulTile) => !paired || cols % (2 * (matrix?.n ?? 1)) === 0;
  const winner = gpu.tuning.get(tileKey(transA, transB, b, m));
  const measured = winner ? (JSON.parse(winner) as MatmulTile) : null;
  if (measured && fits(measured)) return measured;
  const tiles = tileCandidates(gpu, transA, transB, b, m).filter((tile) => fits(tile) && !tile.matrix);
  return tiles.find(({ rows, groups }) => rows * groups < 2 * m) ?? tiles[tiles.length - 1];
}
