import type { MatmulTile, MatmulVariant } from "../../../shaders/matmul/lib/variant.ts";
import { matmul } from "../../../shaders/matmul/matmul.wgsl.ts";
import { matmulRows, type RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import { matmulStaged } from "../../../shaders/matmul/matmul-staged.wgsl.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { rowsTile } from "./gpu-tiles.ts";
import { tileGrid } from "./tile-shapes.ts";

/** A kernel for a product, with its variant. All kernels have the same bindings and parameters. */
interface Form {
  // biome-ignore lint/suspicious/noExplicitAny: each kernel has its own type of variant
  shader: (variant: any) => string;
  variant: object;
  grid: readonly [number, number];
}

/** Inputs for the choice of a form beside the variant. */
interface FormSizes {
  m: number;
  parts: readonly { n: number; k: number }[];
  /** ranks of the low-rank parts */
  ranks: readonly number[];
  /** rows of b begin at multiples of eight elements */
  eights: boolean;
}

/**
 * The kernel for a product without matrix units, by its tile and size.
 *
 * @param forced a tile to use on any adapter, for tests and benches
 */
export function matmulForm(
  gpu: GpuContext,
  variant: MatmulVariant,
  sizes: FormSizes,
  forced?: MatmulTile | RowsTile,
): Form {
  const { m, parts, ranks, eights } = sizes;
  const few = forced ? ("kind" in forced ? forced : null) : rowsTile(gpu, variant, sizes);
  if (few) {
    const piece = eights && parts.every(({ k }) => k % 8 === 0) ? 8 : 4;
    const tail = parts.some(({ k }) => k % 4 !== 0) || ranks.some((r) => r % 4 !== 0);
    const eightB = variant.b === "bf16" && piece === 8;
    const cols = few.cols * few.groups;
    return {
      shader: matmulRows,
      variant: { ...variant, vecC: false, eightB, piece, tail, tile: few },
      grid: gridOf(parts, (n) => [Math.ceil(m / few.rows), Math.ceil(n / cols)]),
    };
  }
  const { tile } = variant;
  const grid = gridOf(parts, (n) => tileGrid(tile, m, n));
  return { shader: tile.stage > 0 ? matmulStaged : matmul, variant, grid };
}

function gridOf(
  parts: readonly { n: number }[],
  tiles: (n: number) => readonly [number, number],
): readonly [number, number] {
  const all = parts.map(({ n }) => tiles(n));
  return [all[0][0], all.reduce((sum, [, y]) => sum + y, 0)];
}
