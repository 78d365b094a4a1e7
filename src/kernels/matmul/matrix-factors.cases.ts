import { view } from "../../gpu/tensor.ts";
import type { KernelCase } from "../check.ts";
import { matmulReference } from "./matmul.ts";
import { matrixForm } from "./matmul-form.cases.ts";
import { recordProduct } from "./product.ts";

/** Sizes of the steps of a sum in b, a step of zeros with them, and of the rows of c: f16 alone holds none but the first. */
const STEPS = [1, 3e5, 1e-20, 0, 1e12];
const ROWS = [1, 1e-9, 1e6];

/** A product of trained matrices by matrix units, both operands of very different sizes; every size of rows by itself. */
function factors(
  kind: "nn" | "tn",
  [m, n, k]: readonly [number, number, number],
  start = 0,
  sizes: readonly number[] = ROWS,
): KernelCase {
  const transA = kind === "tn";
  return {
    kernel: "matrixFactors",
    name: `${kind} [${m},${n},${k}] from column ${start}`,
    tolerance: 1e-3,
    needs: "f16",
    run(check) {
      const lda = start + (transA ? m : k);
      const rowOf = (i: number) => (transA ? (i % lda) - start : Math.floor(i / lda));
      const stepOf = (i: number) => (transA ? Math.floor(i / lda) : (i % lda) - start);
      const size = (of: readonly number[], i: number) => of[Math.max(0, i) % of.length];
      const rows = transA ? k : m;
      // what b's sizes add is taken off a again, so that every step counts in a sum
      const a = check.given(
        Float32Array.from({ length: rows * lda }, (_, i) => {
          return (size(sizes, rowOf(i)) / (size(STEPS, stepOf(i)) || 1)) * check.random();
        }),
        [rows, lda],
        "a",
      );
      const b = check.given(
        Float32Array.from({ length: k * n }, (_, i) => size(STEPS, Math.floor(i / n)) * check.random()),
        [k, n],
        "b",
      );
      const into = check.given(
        Float32Array.from({ length: m * n }, (_, i) => size(sizes, Math.floor(i / n)) * check.random()),
        [m, n],
        "into",
      );
      recordProduct(check.record, {
        a: a.tensor,
        b: b.tensor,
        c: into.tensor,
        transA,
        transB: false,
        lda,
        ldb: n,
        rowStride: n,
        colStride: 1,
        parts: [{ m, n, k, aAt: start }],
        alpha: 0.5,
        accumulate: true,
        tile: matrixForm("f16", 16, 16, 16).tile(check.gpu),
      });
      const own = Float64Array.from({ length: rows * (lda - start) }, (_, i) => {
        const width = lda - start;
        return a.values[Math.floor(i / width) * lda + start + (i % width)];
      });
      const want = matmulReference(own, b.values, [m, n, k], { transA }).map((v, i) => into.values[i] + 0.5 * v);
      sizes.forEach((value, which) => {
        const picked = check.record.empty([Math.ceil((m - which) / sizes.length), n], "f32", "picked");
        const list = Array.from({ length: picked.shape[0] }, (_, i) => which + i * sizes.length);
        for (const [i, row] of list.entries())
          check.record.copy(view(into.tensor, [1, n], row * n), view(picked, [1, n], i * n));
        check.compare(
          `rows of ${value}`,
          picked,
          list.flatMap((row) => Array.from(want.subarray(row * n, (row + 1) * n))),
        );
      });
    },
  };
}

/** LoRA's dy·B, dyᵀ·h and dhᵀ·x, and dyᵀ·x, by matrix units. */
export const matrixFactorsCases: KernelCase[] = [
  factors("nn", [66, 16, 100]),
  factors("nn", [70, 8, 96], 3),
  factors("tn", [68, 16, 97]),
  factors("tn", [16, 68, 97], 4, [1, 1e-3]), // computed the other way round: these are columns of what is scaled by rows
  factors("tn", [72, 68, 64]),
];
