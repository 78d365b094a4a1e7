import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { swigluCases } from "../../../src/kernels/mlp/swiglu.cases.ts";
import { swigluBackward, swigluBackwardReference, swigluReference } from "../../../src/kernels/mlp/swiglu.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("swiglu", swigluCases);

it("the reference gradient agrees with finite differences", () => {
  const wave = (phase: number) => Float64Array.from({ length: 37 }, (_, i) => 3 * Math.sin(7 * i + phase));
  const [gate, up, dy] = [wave(1), wave(2), wave(3)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dgate, dup } = swigluBackwardReference(gate, up, dy);
  expect(gradientError((moved) => dot(swigluReference(moved, up)), gate, dgate)).toBeLessThan(1e-7);
  expect(gradientError((moved) => dot(swigluReference(gate, moved)), up, dup)).toBeLessThan(1e-7);
});

const device = useGpu();

it("refuses shapes that differ, naming both", () => {
  const record = device().recorder();
  const [gateUp, dy] = [record.empty([3, 130], "f32", "gateUp"), record.empty([3, 63], "f32", "dy")];
  expect(() => swigluBackward(record, gateUp, dy)).toThrow("dy [3,63] must be [3,65]");
});
