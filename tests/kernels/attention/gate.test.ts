import { expect, it } from "vitest";
import { gateCases } from "../../../src/kernels/attention/gate.cases.ts";
import { sigmoidGateReference } from "../../../src/kernels/attention/gate.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { describeCases } from "../harness.ts";

describeCases("sigmoid_gate", gateCases);

it("the reference gradient agrees with finite differences", () => {
  const random = (seed: number) => Float64Array.from({ length: 13 }, (_, i) => Math.sin(7 * i + seed));
  const [o, gate, dy] = [1, 2, 3].map(random);
  const value = (o: Float64Array, gate: Float64Array) =>
    sigmoidGateReference(o, gate).y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dO, dgate } = sigmoidGateReference(o, gate, dy);
  expect(gradientError((moved) => value(moved, gate), o, dO)).toBeLessThan(1e-7);
  expect(gradientError((moved) => value(o, moved), gate, dgate)).toBeLessThan(1e-7);
});
