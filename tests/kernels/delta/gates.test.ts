import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { deltaGatesCases } from "../../../src/kernels/delta/gates.cases.ts";
import { deltaGatesReference } from "../../../src/kernels/delta/gates.ts";
import { describeCases } from "../harness.ts";

describeCases("delta_gates", deltaGatesCases);

it("the reference gradient agrees with finite differences", () => {
  const x = Float64Array.from([0.7, -1.3, 0.4, -0.2]);
  const value = ([a, b, rate, bias]: Float64Array) => {
    const { g, beta } = deltaGatesReference(a, b, rate, bias);
    return 0.6 * g - 1.7 * beta;
  };
  const { da, db, drate, dbias } = deltaGatesReference(x[0], x[1], x[2], x[3], 0.6, -1.7);
  expect(gradientError(value, x, Float64Array.from([da, db, drate, dbias]))).toBeLessThan(1e-8);
});
