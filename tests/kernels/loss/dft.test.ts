import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { dftCases } from "../../../src/kernels/loss/dft.cases.ts";
import { dftReference } from "../../../src/kernels/loss/dft.ts";
import { describeCases } from "../harness.ts";

describeCases("dft", dftCases);

it("the reference gradient agrees with finite differences, the probabilities held constant", () => {
  const logp = Float64Array.from({ length: 20 }, (_, i) => -1.5 + Math.sin(7 * i));
  const held = logp.map(Math.exp);
  const f = (x: Float64Array) => dftReference(x, 0.3, held).loss.reduce((a, b) => a + b, 0);
  expect(gradientError(f, logp, dftReference(logp, 0.3).dlogp, 20)).toBeLessThan(1e-7);
});
