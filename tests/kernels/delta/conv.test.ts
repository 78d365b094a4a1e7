import { expect, it } from "vitest";
import { spansOf } from "../../../src/kernels/attention/attention.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { deltaConvCases } from "../../../src/kernels/delta/conv.cases.ts";
import { deltaConvBackwardReference, deltaConvReference } from "../../../src/kernels/delta/conv.ts";
import { describeCases } from "../harness.ts";

describeCases("delta_conv", deltaConvCases);

it("the reference gradient agrees with finite differences", () => {
  const random = (n: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + n));
  const spans = spansOf([0, 2, 9, 10]);
  const [x, weight, dy] = [random(10 * 3), random(3 * 4), random(10 * 3)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dweight } = deltaConvBackwardReference(x, spans, weight, dy);
  expect(gradientError((moved) => dot(deltaConvReference(moved, spans, weight)), x, dx)).toBeLessThan(1e-7);
  expect(gradientError((moved) => dot(deltaConvReference(x, spans, moved)), weight, dweight)).toBeLessThan(1e-7);
});
