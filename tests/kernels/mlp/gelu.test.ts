import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { geluCases } from "../../../src/kernels/mlp/gelu.cases.ts";
import { geluReference } from "../../../src/kernels/mlp/gelu.ts";
import { describeCases } from "../harness.ts";

describeCases("gelu", geluCases);

it.each(["gelu", "gelu_pytorch_tanh"] as const)(
  "the reference gradient of %s agrees with finite differences",
  (kind) => {
    const wave = (phase: number) => Float64Array.from({ length: 37 }, (_, i) => 3 * Math.sin(7 * i + phase));
    const [x, dy] = [wave(1), wave(2)];
    const loss = (moved: Float64Array) => geluReference(moved, kind).y.reduce((sum, v, i) => sum + v * dy[i], 0);
    expect(gradientError(loss, x, geluReference(x, kind, dy).dx)).toBeLessThan(1e-7);
  },
);

it("the reference is torch's", () => {
  const x = Float64Array.of(-5, -1, -0.1, 0.5, 4.5);
  const exact = [
    -1.4332578593401202e-6, -0.15865525393145702, -0.0460172162722971, 0.34573123063700656, 4.4999847104709385,
  ];
  geluReference(x, "gelu").y.forEach((v, i) => {
    expect(v).toBeCloseTo(exact[i], 12);
  });
});
