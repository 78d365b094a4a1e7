import { describe, expect, it } from "vitest";
import { runCase } from "../../src/kernels/check.ts";
import { matmulCases } from "../../src/kernels/matmul.cases.ts";
import { decodeTiles, tileCandidates, tileKey } from "../../src/kernels/matmul-tile.ts";
import { describeCases, useGpu } from "./harness.ts";

describeCases("matmul", matmulCases);

describe("matmul tiles", () => {
  const gpu = useGpu();
  it("gives the same numbers with every tile that tuning may pick, staged ones included", async () => {
    const cases = matmulCases.filter(
      (c) =>
        /^(nt|nn|tn) .(130,68,132|65,63,7). (bf16|f32)/.test(c.name) && (c.name[0] === "t" || / bf16/.test(c.name)),
    );
    expect(cases.length).toBe(5);
    const staged = [
      { rows: 4, cols: 4, lanes: 8, groups: 8, stage: 16, broadcast: 0 },
      { rows: 8, cols: 4, lanes: 16, groups: 4, stage: 8, broadcast: 0 },
    ];
    for (const item of cases) {
      const [transA, transB] = [item.name[0] === "t", item.name[1] === "t"];
      const size = gpu().features.subgroupSize;
      const narrow = transB && !transA && (size === 4 || size === 8) ? decodeTiles(size, "bf16") : [];
      for (const tile of [...tileCandidates(gpu(), transB), ...narrow, ...staged]) {
        for (const b of ["f32", "bf16"] as const) {
          for (const m of [1, 1000]) {
            gpu().tuning.set(tileKey(transA, transB, b, m), JSON.stringify(tile));
            gpu().tuning.set(tileKey(!transB, !transA, b, m), JSON.stringify(tile));
          }
        }
        const { worst, what } = await runCase(gpu(), item);
        expect(worst <= item.tolerance, `${item.name} ${what} ${JSON.stringify(tile)}: ${worst}`).toBe(true);
      }
    }
    gpu().tuning.clear();
  }, 240_000);
});
