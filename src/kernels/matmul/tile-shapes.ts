import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";

/** Outputs with at most this many rows have special tiles: LoRA's factors, decoding. */
export const FEW_ROWS = 64;

/** A tile that stages operands in workgroup memory, `stage` steps of the sum at a time. */
export function staged(rows: number, cols: number, lanes: number, groups: number, stage: number): MatmulTile {
  return { rows, cols, lanes, groups, stage, broadcast: 0, steps: 4 };
}

/** A tile that reads its operands directly from memory. @param broadcast lanes that share loads of `a`; 0 = none */
export function direct(
  rows: number,
  cols: number,
  lanes: number,
  steps: number,
  broadcast: number,
  walk = 1,
): MatmulTile {
  return { rows, cols, lanes, groups: 1, stage: 0, broadcast, steps, ...(walk > 1 && { walk }) };
}

/** Workgroups along rows and columns. */
export function tileGrid({ rows, cols, lanes, groups, walk = 1 }: MatmulTile, m: number, n: number): [number, number] {
  return [Math.ceil(m / (rows * groups)), Math.ceil(n / (cols * lanes * walk))];
}
