import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { doraCases, doraLinearReference } from "../../../src/kernels/matmul/dora.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("dora", doraCases);

it("the reference gradients agree with finite differences, with the norms held constant", () => {
  const shape = [3, 5, 4, 2] as const;
  const [rows, inner, out, r] = shape;
  const random = (n: number, salt: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(3 * i + salt));
  const keep = Float64Array.from({ length: rows * inner }, (_, i) => (i % 3 ? 1.5 : 0));
  const values = {
    x: random(rows * inner, 1),
    w: random(out * inner, 2),
    bias: random(out, 3),
    a: random(r * inner, 4),
    b: random(out * r, 5),
    m: random(out, 6),
    dy: random(rows * out, 7),
  };
  const { dx, dA, dB, dm, norms } = doraLinearReference(values, keep, 0.7, shape);
  for (const [name, gradient] of [
    ["x", dx],
    ["a", dA],
    ["b", dB],
    ["m", dm],
  ] as const) {
    const loss = (moved: Float64Array) =>
      doraLinearReference({ ...values, [name]: moved }, keep, 0.7, shape, norms).y.reduce(
        (sum, v, i) => sum + v * values.dy[i],
        0,
      );
    expect(gradientError(loss, values[name], gradient), name).toBeLessThan(1e-7);
  }
});
