import { expect, it } from "vitest";
import { attentionCases } from "../../src/kernels/attention.cases.ts";
import { attentionReference, spansOf } from "../../src/kernels/attention.ts";
import { gradientError } from "../../src/kernels/check.ts";
import { describeCases } from "./harness.ts";

describeCases("attention", attentionCases);

it("the reference gradients agree with finite differences", () => {
  const heads = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4 };
  const spans = spansOf([0, 3, 7]);
  const random = (n: number, salt: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(5 * i + salt));
  const args = [random(7 * 16, 1), random(7 * 8, 2), random(7 * 8, 3)] as const;
  const dout = random(7 * 16, 4);
  const { dq, dk, dv } = attentionReference(...args, spans, heads, dout);
  [dq, dk, dv].forEach((gradient, which) => {
    const loss = (moved: Float64Array) => {
      const [q, k, v] = args.map((value, i) => (i === which ? moved : value));
      return attentionReference(q, k, v, spans, heads).o.reduce((sum, value, i) => sum + value * dout[i], 0);
    };
    expect(gradientError(loss, args[which], gradient)).toBeLessThan(1e-7);
  });
});
