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
  const args = [
    random(rows * inner, 1),
    random(out * inner, 2),
    random(out, 3),
    random(r * inner, 4),
    random(out * r, 5),
  ] as const;
  const dy = random(rows * out, 6);
  const keep = Float64Array.from({ length: rows * inner }, (_, i) => (i % 3 ? 1.5 : 0));
  const loss = (x: Float64Array, w: Float64Array, bias: Float64Array, a: Float64Array, b: Float64Array) =>
    loraLinearReference(x, w, bias, a, b, dy, keep, 0.7, shape).y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dW, dbias, dA, dB } = loraLinearReference(...args, dy, keep, 0.7, shape);
  [dx, dW, dbias, dA, dB].forEach((gradient, which) => {
    const f = (moved: Float64Array) =>
      loss(...(args.map((v, i) => (i === which ? moved : v)) as unknown as Parameters<typeof loss>));
    expect(gradientError(f, args[which], gradient)).toBeLessThan(1e-7);
  });
});
