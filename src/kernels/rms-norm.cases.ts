import type { KernelCase } from "./check.ts";
import {
  rmsNorm,
  rmsNormBackward,
  rmsNormBackwardReference,
  rmsNormReference,
  rmsNormWeightBackward,
} from "./rms-norm.ts";

const EPS = 1e-6;
const SHAPES = [
  [1, 2],
  [3, 63],
  [5, 65],
  [7, 894],
  [2, 24],
] as const;

/** Shapes, storage and tolerances that rms_norm is held to. */
export const rmsNormCases: KernelCase[] = SHAPES.flatMap(([rows, cols]) =>
  (["f32", "f16", "bf16"] as const).flatMap((dtype): KernelCase[] => [
    {
      kernel: "rmsNorm",
      name: `[${rows},${cols}] ${dtype}`,
      tolerance: 2e-6,
      needs: dtype === "f16" ? "f16" : undefined,
      run(check) {
        const x = check.input([rows, cols], "x");
        const weight = check.input([cols], "weight", 1, dtype);
        const { y } = rmsNorm(check.record, x.tensor, weight.tensor, EPS);
        check.compare("y", y, rmsNormReference(x.values, weight.values, EPS));
      },
    },
    {
      kernel: "rmsNorm",
      name: `[${rows},${cols}] ${dtype} + residual, backward`,
      tolerance: 1e-5,
      needs: dtype === "f16" ? "f16" : undefined,
      run(check) {
        const x = check.input([rows, cols], "x");
        const delta = check.input([rows, cols], "delta");
        const weight = check.input([cols], "weight", 1, dtype);
        const dy = check.input([rows, cols], "dy");
        const into = check.input([rows, cols], "into");
        const dweight = check.input([cols], "dweight");
        const values = x.values.map((v, i) => Math.fround(v + delta.values[i]));
        const { y, rstd, sum } = rmsNorm(check.record, x.tensor, weight.tensor, EPS, delta.tensor);
        rmsNormBackward(check.record, sum, weight.tensor, rstd, dy.tensor, into.tensor);
        const fresh = rmsNormBackward(check.record, sum, weight.tensor, rstd, dy.tensor);
        rmsNormWeightBackward(check.record, sum, rstd, dy.tensor, dweight.tensor);
        const want = rmsNormBackwardReference(values, weight.values, EPS, dy.values);
        check.compare("y", y, rmsNormReference(values, weight.values, EPS));
        check.compare("sum", sum, values);
        check.compare("dx", fresh, want.dx);
        check.compare(
          "dx +=",
          into.tensor,
          want.dx.map((d, i) => d + into.values[i]),
        );
        check.compare(
          "dweight",
          dweight.tensor,
          want.dweight.map((d, i) => d + dweight.values[i]),
        );
      },
    },
  ]),
);
