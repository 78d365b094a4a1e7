import { view } from "../../gpu/tensor.ts";
import type { KernelCase } from "../check.ts";
import { matrixForm } from "./matmul-form.cases.ts";
import { packRowReference } from "./pack-rows.ts";
import { recordProduct } from "./product.ts";

/** Largest f16 number: weights above it are limited to it. */
const MOST = 65504;
/** Sizes of rows, far outside of f16's range; low-rank rows have 40 times the values. */
const SIZES = [1, 3e5, 1e30, 1e-20, 0, 7e-8];

/**
 * A product by matrix units of rows of very different sizes, each compared by itself.
 *
 * @param lda elements between rows of a, from element aAt
 */
function rows(lda: number, aAt: number): KernelCase {
  return {
    kernel: "packRows",
    name: `rows of 1e-20 to 1e30, ${lda} apart from element ${aAt}`,
    tolerance: 1e-3,
    needs: "f16",
    run(check) {
      const [m, n, k, r] = [66, 16, 64, 8];
      const size = (row: number) => SIZES[row % SIZES.length];
      const scaled = (count: number, row: (i: number) => number, factor: number) =>
        Float32Array.from({ length: count }, (_, i) => factor * size(Math.max(0, row(i))) * check.random());
      const a = check.given(
        scaled(aAt + m * lda, (i) => Math.floor((i - aAt) / lda), 1),
        [aAt + m * lda],
        "a",
      );
      const a2 = check.given(
        scaled(m * r, (i) => Math.floor(i / r), 40),
        [m, r],
        "a2",
      );
      const [b, b2] = [check.input([n, k], "b", 1e5), check.input([n, r], "b2")];
      const c = check.record.empty([m, n], "f32", "c");
      recordProduct(check.record, {
        a: a.tensor,
        b: b.tensor,
        c,
        transA: false,
        transB: true,
        lda,
        ldb: k,
        rowStride: n,
        colStride: 1,
        parts: [{ m, n, k, r, aAt }],
        low: { a2: a2.tensor, b2: b2.tensor, lda2: r },
        tile: matrixForm("f16", 16, 16, 16).tile(check.gpu),
      });
      for (const row of SIZES.keys()) {
        const own = [
          ...a.values.subarray(aAt + row * lda, aAt + row * lda + k),
          ...a2.values.subarray(row * r, (row + 1) * r),
        ];
        const { values, scale } = packRowReference(own);
        const want = Float64Array.from({ length: n }, (_, j) => {
          const weight = (s: number) =>
            s < k ? Math.max(-MOST, Math.min(MOST, b.values[j * k + s])) : b2.values[j * r + s - k];
          return values.reduce((sum, value, s) => sum + value * weight(s), 0) / scale;
        });
        check.compare(`row of ${size(row)}`, view(c, [1, n], row * n), want);
      }
    },
  };
}

/** Cases of pack_rows, by a product of what it packs. */
export const packRowsCases: KernelCase[] = [rows(64, 0), rows(67, 5)];
