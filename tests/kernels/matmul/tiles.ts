import { expect } from "vitest";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { runCase } from "../../../src/kernels/check.ts";
import { decodeTiles } from "../../../src/kernels/matmul/cpu-tiles.ts";
import { matmulCases } from "../../../src/kernels/matmul/matmul.cases.ts";
import { tileCandidates, tileKey } from "../../../src/kernels/matmul/matmul-tile.ts";

/** Tiles that stage their operands, as on GPUs; they run on every adapter, and take Mesa's renderer 3 to 6 s to compile. */
export const STAGED = [
  { rows: 4, cols: 4, lanes: 8, groups: 8, stage: 16, broadcast: 0 },
  { rows: 8, cols: 4, lanes: 16, groups: 4, stage: 8, broadcast: 0 },
];

/** Runs the matmul cases with these names with every candidate tile and with `others`. */
export async function checkTiles(
  gpu: Gpu,
  names: RegExp,
  count: number,
  others: readonly MatmulTile[] = [],
): Promise<void> {
  const cases = matmulCases.filter(({ name }) => names.test(name));
  expect(cases.length).toBe(count);
  for (const item of cases) {
    const [transA, transB] = [item.name[0] === "t", item.name[1] === "t"];
    const { profile } = gpu;
    const narrow =
      transB && !transA && profile.tiles === "broadcast"
        ? decodeTiles({ ...profile, operands: "buffers" }, "bf16")
        : [];
    const wide = tileCandidates(gpu, transA, transB).filter(({ walk }) => !walk); // these read texels: the cases of matmul use them
    for (const tile of [...wide, ...narrow, ...others]) {
      for (const b of ["f32", "bf16"] as const) {
        for (const m of [1, 1000]) {
          gpu.tuning.set(tileKey(transA, transB, b, m), JSON.stringify(tile));
          gpu.tuning.set(tileKey(!transB, !transA, b, m), JSON.stringify(tile));
        }
      }
      const { worst, what } = await runCase(gpu, item);
      expect(worst <= item.tolerance, `${item.name} ${what} ${JSON.stringify(tile)}: ${worst}`).toBe(true);
    }
  }
  gpu.tuning.clear();
}
