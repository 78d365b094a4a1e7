import type { KernelCase } from "../check.ts";
import { layerNorm, layerNormBackward, layerNormReference, layerNormWeightBackward } from "./layer-norm.ts";

const EPS = 1e-6;
const SHAPES = [
  [1, 5],
  [3, 63],
  [5, 65],
  [7, 894],
  [66, 24],
] as const;

/** Cases of layer_norm: shapes, storage, means far from 0, and tolerances. */
export const layerNormCases: KernelCase[] = SHAPES.flatMap(([rows, cols]) =>
  (["f32", "f16", "bf16"] as const).map(
    (dtype): KernelCase => ({
      kernel: "layerNorm",
      name: `[${rows},${cols}] ${dtype}, with and without a residual, backward`,
      tolerance: 1e-5,
      needs: dtype === "f16" ? "f16" : undefined,
      run(check) {
        const far = Float32Array.from({ length: rows * cols }, () => 5 + check.random());
        const x = check.given(far, [rows, cols], "x");
        const delta = check.input([rows, cols], "delta");
        const weight = check.input([cols], "weight", 1, dtype);
        const bias = check.input([cols], "bias", 1, dtype);
        const dy = check.input([rows, cols], "dy");
        const into = check.input([rows, cols], "into");
        const dweight = check.input([cols], "dweight");
        const scale = { weight: weight.tensor, bias: bias.tensor };
        const plain = layerNorm(check.record, x.tensor, scale, EPS);
        const { y, stats, sum } = layerNorm(check.record, x.tensor, scale, EPS, delta.tensor);
        const fresh = layerNormBackward(check.record, sum, scale, stats, dy.tensor);
        layerNormBackward(check.record, sum, scale, stats, dy.tensor, into.tensor);
        layerNormWeightBackward(check.record, sum, stats, dy.tensor, dweight.tensor);
        const values = x.values.map((v, i) => Math.fround(v + delta.values[i]));
        const want = layerNormReference(values, weight.values, bias.values, EPS, dy.values);
        check.compare("y", plain.y, layerNormReference(x.values, weight.values, bias.values, EPS).y);
        check.compare("y of the sum", y, want.y);
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
    }),
  ),
);
