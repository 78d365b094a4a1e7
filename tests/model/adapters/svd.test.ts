import { describe, expect, it } from "vitest";
import { topEigen, topSingular } from "../../../src/model/adapters/svd.ts";
import { uniformFrom } from "../../../src/train/seed.ts";

/** A matrix with these singular values, from rotated axes. */
function matrix(out: number, inner: number, seed: number): Float32Array {
  const random = uniformFrom(seed);
  return Float32Array.from({ length: out * inner }, () => random() - 0.5);
}

/** Σ s·u·vᵀ of the first k vectors. */
function product({ u, s, v }: ReturnType<typeof topSingular>, out: number, inner: number, r: number): Float64Array {
  const sum = new Float64Array(out * inner);
  for (let k = 0; k < r; k++)
    for (let i = 0; i < out; i++)
      for (let j = 0; j < inner; j++) sum[i * inner + j] += s[k] * u[k * out + i] * v[k * inner + j];
  return sum;
}

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

describe("the leading singular values and vectors", () => {
  it.each([
    [1, 1],
    [2, 5],
    [7, 3],
    [24, 40],
    [40, 24],
    [33, 33],
  ])("rebuild a matrix of %i × %i, with orthonormal vectors", (out, inner) => {
    const w = matrix(out, inner, out + inner);
    const r = Math.min(out, inner);
    const found = topSingular(w, out, inner, r);
    expect(worst(product(found, out, inner, r), w)).toBeLessThan(1e-12);
    for (const [vectors, size] of [
      [found.u, out],
      [found.v, inner],
    ] as const) {
      for (let a = 0; a < r; a++)
        for (let b = 0; b <= a; b++) {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += vectors[a * size + i] * vectors[b * size + i];
          expect(Math.abs(sum - (a === b ? 1 : 0))).toBeLessThan(1e-10);
        }
    }
    expect([...found.s]).toEqual([...found.s].sort((a, b) => b - a));
  });

  it("are the largest: what is left has the next singular value as its norm", () => {
    const [out, inner, r] = [20, 30, 5];
    const w = matrix(out, inner, 9);
    const all = topSingular(w, out, inner, 20);
    const rest = product(topSingular(w, out, inner, r), out, inner, r).map((v, i) => w[i] - v);
    expect(topSingular(Float32Array.from(rest), out, inner, 1).s[0]).toBeCloseTo(all.s[r], 6);
  });

  it("of matrices with equal values, of rank 1, and of zeros", () => {
    const unit = new Float32Array(36);
    for (let i = 0; i < 6; i++) unit[i * 7] = 3;
    const equal = topSingular(unit, 6, 6, 6);
    expect(worst(equal.s, new Float64Array(6).fill(3))).toBeLessThan(1e-14);
    expect(worst(product(equal, 6, 6, 6), unit)).toBeLessThan(1e-14);
    const flat = Float32Array.from({ length: 40 }, (_, i) => (1 + Math.floor(i / 8)) * ((i % 8) - 3));
    const one = topSingular(flat, 5, 8, 3);
    expect(worst(product(one, 5, 8, 3), flat)).toBeLessThan(1e-11);
    expect(one.s[1]).toBeLessThan(1e-6 * one.s[0]);
    const none = topSingular(new Float32Array(12), 3, 4, 2);
    expect([...none.s]).toEqual([0, 0]);
    expect(none.u.every(Number.isFinite) && none.v.every(Number.isFinite)).toBe(true);
  });

  it("eigenvalues of a diagonal matrix are its entries", () => {
    const { values } = topEigen(Float64Array.of(1, 0, 0, 0, -2, 0, 0, 0, 5), 3, 3);
    expect([...values]).toEqual([5, 1, -2]);
  });
});
