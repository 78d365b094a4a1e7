import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import { type MatrixTile, matrixBytes } from "../../../shaders/matmul/lib/slabs.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { isSoftwareName } from "../../gpu/cpu-adapters/names.ts";

const staged = (rows: number, cols: number, lanes: number, groups: number, stage: number): MatmulTile => {
  return { rows, cols, lanes, groups, stage, broadcast: 0, steps: 4 };
};
const direct = (rows: number, cols: number, lanes: number, steps: number, broadcast: number, walk = 1): MatmulTile => {
  return { rows, cols, lanes, groups: 1, stage: 0, broadcast, steps, ...(walk > 1 && { walk }) };
};

/** For bf16 read down its columns as texels, of eight columns each. */
const texelTile = (size: number): MatmulTile => direct(8, 8, 8, 8, size, 2);

/** Outputs of so few rows have tiles of their own: LoRA's factors, decoding. */
export const FEW_ROWS = 64;

/** Whether an adapter is a CPU in disguise: it has a fixed subgroup of 4 or 8, or, where there are none, its name. */
export function onCpu({ features: { subgroupSize }, adapterName }: GpuContext): boolean {
  return subgroupSize === 4 || subgroupSize === 8 || isSoftwareName(adapterName);
}

/**
 * Tiles worth trying on an adapter; the first is the one to use while nothing was measured.
 *
 * CPU adapters gather every load lane by lane, four elements for little more than one: there lanes of a subgroup share out
 * wide loads of `a`, and no tile uses workgroup memory; eight steps at once only where operands are textures. GPUs stage
 * both operands in it, and those that were opened with subgroup matrices may multiply by them. What was tried, and what lost, is in bench/LOG.md.
 */
export function tileCandidates(
  gpu: GpuContext,
  transA: boolean,
  transB: boolean,
  b: StoredMatrix = "bf16",
  m: number = FEW_ROWS + 1,
): MatmulTile[] {
  const size = gpu.features.subgroupSize;
  if (size === 8) {
    // more registers or more code than this and LLVM's output falls out of the first-level caches
    const few = m <= FEW_ROWS; // LoRA's factors are then buffers, and much code would be compiled for little
    if (gpu.texels && (few ? transB && b === "bf16" : b === "f32" || b === "bf16")) {
      const [square, wide] = [texelTile(size), direct(16, 4, 8, 8, size, 2)];
      if (transB) return [wide, direct(8, 4, 8, 8, size), direct(16, 4, 8, 4, size)];
      if (b === "f32") return [direct(16, 8, 8, 8, size, transA ? 2 : 1), wide, square];
      return [square];
    }
    return transB
      ? [direct(16, 4, 8, 4, size), direct(16, 3, 8, 4, size), direct(8, 4, 8, 8, size)]
      : [direct(16, 4, 8, 4, size), direct(8, 4, 8, 8, size), direct(8, 4, 16, 8, size)];
  }
  if (size === 4) {
    return transB
      ? [direct(16, 16, 8, 8, size), direct(16, 8, 8, 8, size), direct(8, 8, 8, 8, size)]
      : [direct(16, 16, 4, 8, size), direct(16, 8, 8, 8, size), direct(8, 8, 8, 8, size)];
  }
  if (onCpu(gpu)) return [direct(4, 4, 8, 4, 0), direct(8, transB ? 2 : 4, 32, 4, 0), direct(4, 4, 64, 4, 0)];
  return [
    staged(4, 4, 16, 16, 32),
    staged(8, 8, 16, 16, 16),
    staged(8, 4, 16, 16, 16),
    staged(4, 8, 16, 16, 16),
    staged(8, 8, 8, 8, 16),
    staged(4, 4, 16, 8, 32),
    direct(8, transB ? 2 : 4, 32, 4, 0),
    direct(4, 4, 64, 4, 0),
    ...matrixTiles(gpu, transB),
  ];
}

/** Tiles of subgroup matrices on a device that has them, and memory for them whichever way the operands lie. */
export function matrixTiles({ features, limits }: GpuContext, transB: boolean): MatmulTile[] {
  const { matrix } = features;
  if (!matrix) return [];
  const tile = (down: number, across: number, lanes: number, groups: number, stage: number): MatmulTile => {
    const [rows, cols] = [down * matrix.m, across * matrix.n];
    return { rows, cols, lanes, groups, stage, broadcast: 0, steps: 4, matrix };
  };
  const [tall, wide] = [32 / matrix.m, 32 / matrix.n]; // matrices of 32 rows, of 32 columns
  return [
    tile(2 * tall, wide, 4, 2, 32),
    tile(tall, wide, 2, 2, 32),
    tile(tall, wide, 4, 2, 32),
    tile(tall, wide, 2, 2, 16),
  ].filter((tile) => {
    const threads = tile.lanes * tile.groups * matrix.size;
    return (
      tile.stage % matrix.k === 0 &&
      threads % matrix.multiple === 0 &&
      threads <= limits.maxComputeInvocationsPerWorkgroup &&
      [false, true].every((transA) =>
        (["none", "swiglu"] as const).every(
          (pairs) =>
            matrixBytes({ tile: tile as MatrixTile, transA, transB, pairs }) <= limits.maxComputeWorkgroupStorageSize,
        ),
      )
    );
  });
}

/** A tile for a product that matrices cannot compute. */
export function plainTile(gpu: GpuContext, transB: boolean, m: number): MatmulTile {
  const tiles = tileCandidates(gpu, false, transB).filter(({ matrix }) => !matrix);
  return tiles.find(({ rows, groups }) => rows * groups < 2 * m) ?? tiles[tiles.length - 1];
}

/**
 * Tiles of x·Wᵀ for the few rows of a decoding pass on a CPU adapter: 1, up to 4 and up to 8 of them. There the weights'
 * loads are most of the work whatever the tile, so that none is measured. Larger batches take `tileCandidates`.
 */
export function decodeTiles(size: number, b: StoredMatrix, texels = false): MatmulTile[] {
  if (texels && b === "bf16") {
    const tiles = [direct(1, 2, 8, 32, size, 4), direct(2, 2, 8, 16, size, 4)];
    return [...tiles, direct(4, 4, 8, 8, size, 4), direct(8, 4, 8, 8, size, 4), direct(16, 4, 8, 8, size, 2)];
  }
  const steps = b === "bf16" ? 8 : 4; // one load of a weight row; more is slow to compile
  return [direct(1, 2, 8, steps, size), direct(4, 3, 8, steps, size), direct(8, 4, 8, steps, size)];
}

/** Key under which a winner is remembered: what changes which tile is best. */
export function tileKey(transA: boolean, transB: boolean, b: StoredMatrix, m: number): string {
  return `matmul ${transA ? "t" : "n"}${transB ? "t" : "n"} ${b}${m <= FEW_ROWS ? " few" : ""}`;
}

/**
 * The tile for a product: the measured winner of this adapter; unmeasured, the first candidate that wastes few rows.
 *
 * @param aligned false where rows do not begin at multiples of four elements: every load is then four, so much code that
 *   a CPU adapter compiles for seconds, and such sizes are met in tests only: they get a small tile
 * @param paired a thread keeps columns two by two: their number is even
 * @param texture b lies in one
 */
export function matmulTile(
  gpu: GpuContext,
  transA: boolean,
  transB: boolean,
  b: StoredMatrix,
  m: number,
  aligned: boolean,
  paired = false,
  texture = false,
): MatmulTile {
  const size = gpu.features.subgroupSize;
  if (!aligned && (size === 4 || size === 8)) return direct(8, !transB ? 4 : paired ? 2 : 1, 8, 4, size);
  if (texture && !transB && b === "bf16") return texelTile(size);
  const fits = ({ cols, matrix }: MatmulTile) => !paired || cols % (2 * (matrix?.n ?? 1)) === 0;
  if ((size === 4 || size === 8) && transB && !transA) {
    const tile = decodeTiles(size, b, gpu.texels !== null).find((tile) => m <= tile.rows && fits(tile));
    if (tile) return tile;
  }
  const winner = gpu.tuning.get(tileKey(transA, transB, b, m));
  const measured = winner ? (JSON.parse(winner) as MatmulTile) : null;
  if (measured && fits(measured)) return measured;
  const tiles = tileCandidates(gpu, transA, transB, b, m).filter((tile) => fits(tile) && !tile.matrix);
  return tiles.find(({ rows, groups }) => rows * groups < 2 * m) ?? tiles[tiles.length - 1];
}

/** Workgroups along rows and columns. */
export function tileGrid({ rows, cols, lanes, groups, walk = 1 }: MatmulTile, m: number, n: number): [number, number] {
  return [Math.ceil(m / (rows * groups)), Math.ceil(n / (cols * lanes * walk))];
}
