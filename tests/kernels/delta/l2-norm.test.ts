import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { deltaL2NormCases } from "../../../src/kernels/delta/l2-norm.cases.ts";
import { deltaL2NormBackwardReference, deltaL2NormReference } from "../../../src/kernels/delta/l2-norm.ts";
import { describeCases } from "../harness.ts";

describeCases("delta_l2_norm", deltaL2NormCases);

it("the reference gradient agrees with finite differences", () => {
  const random = (n: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + n));
  const [x, dy] = [random(13), random(12).map((v) => v + 0.1)];
  const wide = Float64Array.from([...dy, 0.3]);
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * wide[i], 0);
  const dx = deltaL2NormBackwardReference(x, 0.25, wide);
  expect(gradientError((moved) => dot(deltaL2NormReference(moved, 0.25)), x, dx)).toBeLessThan(1e-7);
});
