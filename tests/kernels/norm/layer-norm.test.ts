import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { layerNormCases } from "../../../src/kernels/norm/layer-norm.cases.ts";
import { layerNormReference } from "../../../src/kernels/norm/layer-norm.ts";
import { describeCases } from "../harness.ts";

describeCases("layer_norm", layerNormCases);

it("the reference gradient agrees with finite differences", () => {
  const wave = (n: number, salt: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + salt) + salt);
  const [x, weight, bias, dy] = [wave(39, 1), wave(13, 2), wave(13, 3), wave(39, 4)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dweight } = layerNormReference(x, weight, bias, 1e-6, dy);
  expect(gradientError((moved) => dot(layerNormReference(moved, weight, bias, 1e-6).y), x, dx)).toBeLessThan(1e-7);
  const loss = (moved: Float64Array) => dot(layerNormReference(x, moved, bias, 1e-6).y);
  expect(gradientError(loss, weight, dweight)).toBeLessThan(1e-7);
});
