import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { VariantTree } from "../../gpu/variants.ts";
import { cpuTiles, fixedTile, type TileAsk } from "./cpu-tiles.ts";
import { gpuTiles, matrixTiles, usesMatrices } from "./gpu-tiles.ts";
import { FEW_ROWS, tileGrid } from "./tile-shapes.ts";

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

/** Whether the lengths of sums are not multiples of a tile's step. @param ranks of their low-rank parts */
export function hasTail(
  { stage, steps = 4, matrix }: MatmulTile,
  parts: readonly { k: number }[],
  ranks: readonly number[],
): boolean {
  if (stage > 0 && !matrix) return parts.some(({ k }) => k % stage !== 0); // ranks have zeros past their ends
  return parts.some(({ k }) => k % steps !== 0) || ranks.some((r) => r % 4 !== 0);
}

/**
 * Classes of outputs by their number of 64 × 64 tiles: enough for every GPU with any tile, with small tiles only, or
 * fewer.
 */
const SIZES = [
  { size: "large", least: 1024 },
  { size: "medium", least: 128 },
  { size: "small", least: 0 },
] as const;

/**
 * Key of a measured winner: the properties that affect which tile is best.
 *
 * @param n columns, if the number of outputs matters: on GPUs
 * @param matrices computed by matrix units of f16
 */
export function tileKey(
  transA: boolean,
  transB: boolean,
  b: StoredMatrix,
  m: number,
  n?: number,
  matrices = false,
): string {
  const tiles = Math.ceil(m / 64) * Math.ceil((n ?? 0) / 64);
  const size = n === undefined || m <= FEW_ROWS ? "" : ` ${SIZES.find(({ least }) => tiles >= least)!.size}`;
  return `matmul ${transA ? "t" : "n"}${transB ? "t" : "n"} ${b}${m <= FEW_ROWS ? " few" : size}${matrices ? " high" : ""}`;
}

/** The part of an adapter's choice that does not depend on measurements. */
interface Choice {
  /** keys of a winner, in order of precedence */
  keys: readonly string[];
  /** the default without measurements */
  tile: MatmulTile;
  /** whether a tile can compute the product */
  fits(tile: MatmulTile): boolean;
}

/** Cache by adapter, because every dispatch needs it. */
const choices = new WeakMap<GpuContext, VariantTree<Choice>>();

/** Parsed winners, by their text. */
const winners = new Map<string, MatmulTile>();

/**
 * The tile for a product: the measured winner on this adapter, else the first candidate that wastes few rows and, on a
 * GPU, gives enough workgroups. CPU adapters never measure some products.
 */
export function matmulTile(gpu: GpuContext, ask: TileAsk): MatmulTile {
  let known = choices.get(gpu);
  if (!known) choices.set(gpu, (known = new VariantTree()));
  let choice = known.get(ask);
  if (!choice) known.set(ask, (choice = choiceOf(gpu, ask)));
  for (const key of choice.keys) {
    const text = gpu.tuning.get(key);
    if (text === undefined) continue;
    let winner = winners.get(text);
    if (!winner) winners.set(text, (winner = JSON.parse(text) as MatmulTile));
    if (choice.fits(winner)) return winner;
    break;
  }
  return choice.tile;
}

function choiceOf(gpu: GpuContext, ask: TileAsk): Choice {
  const { transA, transB, b, m, n, paired = false } = ask;
  const fits = ({ cols, matrix }: MatmulTile) =>
    (!matrix || ask.matrices === true) && (!paired || cols % (2 * (matrix?.n ?? 1)) === 0);
  if (ask.matrices && usesMatrices(gpu)) {
    const tiles = matrixTiles(gpu, paired).filter(fits);
    const tile = busiest(tiles, m, n);
    const known = (of: MatmulTile) =>
      tiles.some(
        ({ rows, cols, lanes, stage }) =>
          rows === of.rows && cols === of.cols && lanes === of.lanes && stage === of.stage,
      );
    if (tile) return { keys: [tileKey(transA, transB, b, m, n, true)], tile, fits: known };
  }
  const fixed = fixedTile(gpu.profile, ask);
  if (fixed) return { keys: [], tile: fixed, fits };
  const sized = gpu.profile.tiles === "staged" ? [tileKey(transA, transB, b, m, n)] : [];
  const tiles = tileCandidates(gpu, transA, transB, b, m).filter((tile) => fits(tile) && !tile.matrix);
  const thrifty = tiles.filter(({ rows, groups }) => rows * groups < 2 * m);
  const first = gpu.profile.tiles === "staged" ? busiest(thrifty, m, n) : thrifty[0];
  return { keys: [...sized, tileKey(transA, transB, b, m)], tile: first ?? tiles[tiles.length - 1], fits };
}

/** Workgroups that keep a large GPU busy. */
const ENOUGH = 128;

/** The first staged tile that gives enough workgroups for these outputs, else the tile that gives the most. */
function busiest(tiles: readonly MatmulTile[], m: number, n: number): MatmulTile | undefined {
  const workgroups = (tile: MatmulTile) => tileGrid(tile, m, n).reduce((x, y) => x * y);
  const staged = tiles.filter(({ stage }) => stage > 0);
  const most = Math.min(ENOUGH, Math.max(...staged.map(workgroups)));
  return staged.find((tile) => workgroups(tile) >= most) ?? tiles[0];
}
