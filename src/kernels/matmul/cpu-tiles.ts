import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { AdapterProfile } from "../../gpu/profile.ts";
import { direct, FEW_ROWS } from "./tile-shapes.ts";

// CPU adapters run every load lane by lane; a load of four elements costs little more than one. Lanes of a subgroup
// share wide loads of `a`, and no tile uses workgroup memory. Eight steps at once only if operands are textures.

/** Inputs for the choice of a tile. */
export interface TileAsk {
  /** a is stored [k, m], b [n, k] */
  transA: boolean;
  transB: boolean;
  /** how b is stored */
  b: StoredMatrix;
  /** rows of the output, and columns of all parts */
  m: number;
  n: number;
  /** steps of a sum; default: few */
  k?: number;
  /**
   * false if rows do not begin at multiples of four elements: every load then becomes four, so much code that a CPU
   * adapter compiles for seconds. Only tests have such sizes: they get a small tile.
   */
  aligned: boolean;
  /** a thread handles pairs of columns: their number is even */
  paired?: boolean;
  /** see `isSmall` */
  small?: boolean;
  /** b is stored in a texture */
  texture?: boolean;
  /** matrix units can compute it: see `fitsMatrices` */
  matrices?: boolean;
}

/**
 * Whether a product's matrix without rows of tokens (b, or the output of a gradient) is that of a tiny model. On CPU adapters, such
 * a product gets a small tile, because a tiny model compiles for longer than it runs. LoRA's factors of larger models are long,
 * and not small.
 */
export const isSmall = (parts: readonly { n: number; k: number }[], transA: boolean, m: number): boolean =>
  parts.every(({ n, k }) => Math.max(n, transA ? m : k) < 768 && n * (transA ? m : k) <= 1 << 17);

/** For bf16 read down its columns as texels of eight columns. */
const downColumns = (lanes: number): MatmulTile => direct(8, 8, 8, 8, lanes, 2);

/** Lanes that share loads; 0 = none. */
const lanesOf = ({ tiles, subgroup }: AdapterProfile) => (tiles === "broadcast" ? (subgroup?.size ?? 0) : 0);

/** Tiles worth trying on a CPU adapter; the first is the default without measurements. */
export function cpuTiles(
  profile: AdapterProfile,
  { transA, transB, b, m }: Pick<TileAsk, "transA" | "transB" | "b" | "m">,
): MatmulTile[] {
  const lanes = lanesOf(profile);
  if (lanes === 8 || profile.operands === "textures") {
    // with more registers or code than this, LLVM's output no longer fits the first-level caches
    const few = m <= FEW_ROWS; // LoRA's factors are then buffers, and more code would compile slowly for little gain
    if (profile.operands === "textures" && (few ? transB && b === "bf16" : b === "f32" || b === "bf16")) {
      const wide = direct(16, 4, 8, 8, lanes, 2);
      if (transB) return [wide, direct(8, 4, 8, 8, lanes), direct(16, 4, 8, 4, lanes)];
      if (b === "f32") return [direct(16, 8, 8, 8, lanes, transA ? 2 : 1), wide, downColumns(lanes)];
      return [downColumns(lanes)];
    }
    return transB
      ? [direct(16, 4, 8, 4, lanes), direct(16, 3, 8, 4, lanes), direct(8, 4, 8, 8, lanes)]
      : [direct(16, 4, 8, 4, lanes), direct(8, 4, 8, 8, lanes), direct(8, 4, 16, 8, lanes)];
  }
  if (lanes === 4) {
    return transB
      ? [direct(16, 16, 8, 8, lanes), direct(16, 8, 8, 8, lanes), direct(8, 8, 8, 8, lanes)]
      : [direct(16, 16, 4, 8, lanes), direct(16, 8, 8, 8, lanes), direct(8, 8, 8, 8, lanes)];
  }
  return [direct(4, 4, 8, 4, 0), direct(8, transB ? 2 : 4, 32, 4, 0), direct(4, 4, 64, 4, 0)];
}

/**
 * The tile of a tiny model's products. Processor time to compile 8 × 4 and 16 × 8 outputs, and GFLOP in a second of it, bf16: 0.4 and
 * 2.4 s, 22 and 30 on llvmpipe; 0.5 and 0.7 s, 2.2 and 3.4 on SwiftShader.
 */
const tinyTile = ({ tinyTiles }: AdapterProfile, lanes: number): MatmulTile =>
  tinyTiles === "small" ? direct(8, 4, 8, 4, lanes) : direct(16, 8, 8, 4, lanes);

/** Columns from which tiles of 256 columns are enough for a few cores. */
const WIDE = 2048;
/** Steps from which a thread of 16 rows is faster with four neighbouring rows of the weights than with two. */
const DEEP = 3072;

/** The fixed tile of products that a CPU adapter does not measure; null for all others. */
export function fixedTile(profile: AdapterProfile, ask: TileAsk): MatmulTile | null {
  const { transA, transB, b, m, n, k, aligned, paired = false, texture = false, small = false } = ask;
  const lanes = lanesOf(profile);
  if (lanes === 0) return null;
  if (!aligned) return direct(8, !transB ? 4 : paired ? 2 : 1, 8, 4, lanes);
  if (texture && !transB && b === "bf16") return downColumns(lanes);
  if (!transA && !transB && m <= 2) return direct(m, 8, 8, 4, lanes);
  if (small && (transA || m > 2)) return tinyTile(profile, lanes);
  // a texel of f32 has half as many elements as one of bf16: more products for each
  if (texture && b === "f32" && !transA && m >= FEW_ROWS)
    return transB ? direct(16, 6, 8, 4, lanes) : direct(16, 8, 8, 4, lanes);
  if (transA || !transB) return null;
  return decodeTiles(profile, b, { n, k }).find(({ rows, cols }) => m <= rows && (!paired || cols % 2 === 0)) ?? null;
}

/**
 * Tiles of x·Wᵀ for the few rows of a decoding pass: 1, up to 4, up to 8, and for textures up to 16. Loading the
 * weights is most of the work with any tile, so that nothing is measured. Larger batches use `cpuTiles`.
 *
 * @param size.n columns: wide outputs have enough workgroups even of threads that read four neighbouring rows of the weights
 * @param size.k steps: in long sums, threads read four neighbouring rows of narrow outputs too
 */
export function decodeTiles(
  profile: AdapterProfile,
  b: StoredMatrix,
  { n = 0, k = 0 }: { n?: number; k?: number } = {},
): MatmulTile[] {
  const lanes = lanesOf(profile);
  if (profile.operands === "textures" && b === "bf16") {
    const tiles = [direct(1, 2, 8, 32, lanes, 4), direct(2, 2, 8, 16, lanes, 4)];
    return [
      ...tiles,
      direct(4, 4, 8, 8, lanes, 4),
      direct(8, 4, 8, 8, lanes, 4),
      // a load of a serves eight columns, not four: 11 % less processor time for a pass of 16 rows, no gain for 256 rows
      n >= WIDE ? { ...direct(16, 8, 8, 8, lanes, 4), colsAtOnce: 4 } : direct(16, 4, 8, 8, lanes, k >= DEEP ? 4 : 2),
    ];
  }
  const steps = b === "bf16" ? 8 : 4; // one load of a weight row; more is slow to compile
  return [direct(1, 2, 8, steps, lanes), direct(4, 3, 8, steps, lanes), direct(8, 4, 8, steps, lanes)];
}
