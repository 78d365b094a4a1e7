import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import {
  linearGroupCases,
  loraLinearCases,
  loraLinearReference,
} from "../../../src/kernels/matmul/lora-linear.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("lora_linear", loraLinearCases);
describeCases("linear_group", linearGroupCases);

it("the reference gradients agree with finite differences", () => {
  const shape = [3, 5, 4, 2] as const;
  const [rows, inner, out, r] = shape;
  const random = (n: number, salt: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(3 * i + salt));
  const dy = random(rows * out, 6);
  const keep = Float64Array.from({ length: rows * inner }, (_, i) => (i % 3 ? 1.5 : 0));
  const values = {
    x: random(rows * inner, 1),
    w: random(out * inner, 2),
    bias: random(out, 3),
    a: random(r * inner, 4),
    b: random(out * r, 5),
  };
  const { dx, dW, dbias, dA, dB } = loraLinearReference({ ...values, dy, keep }, 0.7, shape);
  for (const [name, gradient] of [
    ["x", dx],
    ["w", dW],
    ["bias", dbias],
    ["a", dA],
    ["b", dB],
  ] as const) {
    const loss = (moved: Float64Array) =>
      loraLinearReference({ ...values, [name]: moved, dy, keep }, 0.7, shape).y.reduce(
        (sum, v, i) => sum + v * dy[i],
        0,
      );
    expect(gradientError(loss, values[name], gradient), name).toBeLessThan(1e-7);
  }
});
