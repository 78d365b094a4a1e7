import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { gatedRmsNormCases } from "../../../src/kernels/norm/gated-rms-norm.cases.ts";
import { gatedRmsNormReference } from "../../../src/kernels/norm/gated-rms-norm.ts";
import { describeCases } from "../harness.ts";

describeCases("gated_rms_norm", gatedRmsNormCases);

it("the reference gradient agrees with finite differences", () => {
  const random = (seed: number) => Float64Array.from({ length: 13 }, (_, i) => Math.sin(7 * i + seed));
  const [x, gate, weight, dy] = [1, 2, 3, 4].map(random);
  const value = (x: Float64Array, gate: Float64Array, weight: Float64Array) =>
    gatedRmsNormReference(x, gate, weight, 1e-6).y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dgate, dweight } = gatedRmsNormReference(x, gate, weight, 1e-6, dy);
  expect(gradientError((moved) => value(moved, gate, weight), x, dx)).toBeLessThan(1e-7);
  expect(gradientError((moved) => value(x, moved, weight), gate, dgate)).toBeLessThan(1e-7);
  expect(gradientError((moved) => value(x, gate, moved), weight, dweight)).toBeLessThan(1e-7);
});
