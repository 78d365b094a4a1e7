import type { Stored } from "../../shaders/lib/load.ts";
import type { MatmulTile } from "../../shaders/matmul.wgsl.ts";
import type { Gpu } from "../gpu/device.ts";

const tile = (
  rows: number,
  cols: number,
  lanes: number,
  groups: number,
  stage: number,
  broadcast: number,
): MatmulTile => ({
  rows,
  cols,
  lanes,
  groups,
  stage,
  broadcast,
});

/** Outputs of fewer rows than this have tiles of their own: LoRA's factors, decoding. */
const FEW_ROWS = 64;

/**
 * Tiles worth trying on an adapter.
 *
 * CPU adapters (a fixed subgroup of 4 or 8) gather every load lane by lane: there a lane loads one step of `a` and
 * broadcasts it, and no tile uses workgroup memory. GPUs stage both operands in it.
 */
export function tileCandidates(gpu: Gpu, transB: boolean): MatmulTile[] {
  const size = gpu.features.subgroupSize;
  const narrow = transB ? 2 : 4;
  if (size === 4 || size === 8) {
    return [
      tile(8, narrow, 16, 1, 0, size),
      tile(8, narrow, 32, 1, 0, size),
      tile(4, transB ? 4 : 8, 16, 1, 0, size),
      tile(8, transB ? 1 : 8, 16, 1, 0, size),
      tile(4, 4, 8, 1, 0, size),
    ];
  }
  const direct = [tile(8, narrow, 32, 1, 0, 0), tile(4, 4, 64, 1, 0, 0)];
  return [
    tile(4, 4, 16, 16, 16, 0),
    tile(8, 4, 16, 16, 16, 0),
    tile(4, transB ? 2 : 4, 16, 8, 16, 0),
    tile(4, 4, 8, 8, 16, 0),
    ...direct,
  ];
}

/** Key under which a winner is remembered: what changes which tile is best. */
export function tileKey(transA: boolean, transB: boolean, b: Stored, m: number): string {
  return `matmul ${transA ? "t" : "n"}${transB ? "t" : "n"} ${b}${m <= FEW_ROWS ? " few" : ""}`;
}

/** The tile for a product: the measured winner of this adapter, or the first candidate while nothing was measured. */
export function matmulTile(gpu: Gpu, transA: boolean, transB: boolean, b: Stored, m: number): MatmulTile {
  const winner = gpu.tuning.get(tileKey(transA, transB, b, m));
  return winner ? (JSON.parse(winner) as MatmulTile) : tileCandidates(gpu, transB)[0];
}

/** Workgroups along rows and columns. */
export function tileGrid({ rows, cols, lanes, groups }: MatmulTile, m: number, n: number): [number, number] {
  return [Math.ceil(m / (rows * groups)), Math.ceil(n / (cols * lanes))];
}
