import { expect } from "vitest";
import type { Gpu } from "../../../src/gpu/device.ts";
import { runCase } from "../../../src/kernels/check.ts";
import { decodeTiles } from "../../../src/kernels/matmul/cpu-tiles.ts";
import { matmulCases } from "../../../src/kernels/matmul/matmul.cases.ts";
import { tileCandidates, tileKey } from "../../../src/kernels/matmul/matmul-tile.ts";

/** Tiles that stage their operands, as GPUs take them: on whatever adapter there is. */
const STAGED = [
  { rows: 4, cols: 4, lanes: 8, groups: 8, stage: 16, broadcast: 0 },
  { rows: 8, cols: 4, lanes: 16, groups: 4, stage: 8, broadcast: 0 },
];

/** Holds the cases of matmul with these names to their tolerance with every tile that tuning may pick, and with staged ones. */
export async function checkTiles(gpu: Gpu, names: RegExp, count: number): Promise<void> {
  const cases = matmulCases.filter(({ name }) => names.test(name));
  expect(cases.length).toBe(count);
  for (const item of cases) {
    const [transA, transB] = [item.name[0] === "t", item.name[1] === "t"];
    const { profile } = gpu;
    const narrow =
      transB && !transA && profile.tiles === "broadcast"
        ? decodeTiles({ ...profile, operands: "buffers" }, "bf16")
        : [];
    const wide = tileCandidates(gpu, transA, transB).filter(({ walk }) => !walk); // of texels: matmul's own cases take them
    for (const tile of [...wide, ...narrow, ...STAGED]) {
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
