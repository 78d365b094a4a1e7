import { expect, it } from "vitest";
import { blendRowsCases } from "../../../src/kernels/vision/blend-rows.cases.ts";
import { blendRowsReference, type SparseRows, transposeSparse } from "../../../src/kernels/vision/blend-rows.ts";
import { describeCases } from "../harness.ts";

describeCases("blend_rows", blendRowsCases);

it("the transpose is the gradient: ⟨dy, S·x⟩ = ⟨Sᵀ·dy, x⟩, and twice it is the matrix", () => {
  const sparse: SparseRows = {
    starts: Uint32Array.of(0, 2, 2, 5),
    sources: Uint32Array.of(1, 3, 0, 1, 2),
    factors: Float32Array.of(0.5, -1, 2, 3, 0.25),
  };
  const [x, dy] = [Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8), Float64Array.of(1, -1, 2, 0.5, -3, 4)];
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const back = transposeSparse(sparse, 4);
  expect(dot(dy, blendRowsReference(x, 2, sparse))).toBeCloseTo(dot(blendRowsReference(dy, 2, back), x), 12);
  expect(transposeSparse(back, 3)).toEqual(sparse);
});
