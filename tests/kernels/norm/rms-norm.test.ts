import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { rmsNormCases } from "../../../src/kernels/norm/rms-norm.cases.ts";
import { rmsNormBackwardReference, rmsNormReference } from "../../../src/kernels/norm/rms-norm.ts";
import { rmsNormLoraCases } from "../../../src/kernels/norm/rms-norm-lora.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("rms_norm", rmsNormCases);
describeCases("rms_norm_lora", rmsNormLoraCases);

it("the reference gradient agrees with finite differences", () => {
  const random = (n: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + n));
  const [x, weight, dy] = [random(3 * 13), random(13), random(3 * 13)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dweight } = rmsNormBackwardReference(x, weight, 1e-6, dy);
  expect(gradientError((moved) => dot(rmsNormReference(moved, weight, 1e-6)), x, dx)).toBeLessThan(1e-7);
  expect(gradientError((moved) => dot(rmsNormReference(x, moved, 1e-6)), weight, dweight)).toBeLessThan(1e-7);
});
