import { describe, expect, it } from "vitest";
import { entropyMaskCases } from "../../../src/kernels/loss/entropy-mask.cases.ts";
import { entropyMaskReference } from "../../../src/kernels/loss/entropy-mask.ts";
import { describeCases } from "../harness.ts";

describeCases("entropy_mask", entropyMaskCases);

describe("the mask of the reference", () => {
  const count = (top: number, entropy: number[]) => [
    ...entropyMaskReference(entropy, { top_entropy_quantile: top, factor: 1 }).counted,
  ];

  it("is that of torch.quantile, ends included", () => {
    expect(count(0.5, [1, 2, 3, 4])).toEqual([0, 0, 1, 1]); // threshold 2.5
    expect(count(0, [1, 2, 3, 4])).toEqual([0, 0, 0, 1]);
    expect(count(1, [1, 2, 3, 4])).toEqual([1, 1, 1, 1]);
    expect(count(0.2, [5, 1, 4, 2, 3])).toEqual([1, 0, 0, 0, 0]); // at 3.2 of 4: between 4 and 5
    expect(count(0.25, [5, 1, 4, 2, 3])).toEqual([1, 0, 1, 0, 0]); // at 3, which is itself
    expect(count(0.3, [2, 2, 2])).toEqual([1, 1, 1]); // ties stay
  });

  it("shares the mean among what counts", () => {
    const { slope } = entropyMaskReference([1, 2, 3, 4], { top_entropy_quantile: 0.5, factor: -0.2 });
    expect([...slope]).toEqual([-0, -0, -0.1, -0.1]);
  });
});
