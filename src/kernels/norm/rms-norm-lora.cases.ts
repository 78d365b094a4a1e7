import type { KernelCase } from "../check.ts";
import { oneLinear } from "../matmul/linear.ts";
import { matmulReference } from "../matmul/matmul.ts";
import { rmsNormReference } from "./rms-norm.ts";
import { rmsNormLora } from "./rms-norm-lora.ts";

const EPS = 1e-6;
/** Rows, columns, r; odd ones and narrow ones take the plain kernels. */
const SHAPES: readonly (readonly [number, number, number, "f32" | "bf16", boolean, boolean?])[] = [
  [1, 512, 8, "f32", false],
  [2, 896, 16, "bf16", true],
  [2, 516, 70, "bf16", true],
  [5, 33, 3, "f32", true],
  [3, 64, 8, "f32", true],
  [1, 512, 8, "f32", true, true],
];

/** The norm, the residual and the low-rank product of a decoding pass. */
export const rmsNormLoraCases: KernelCase[] = SHAPES.map(([rows, cols, r, dtype, residual, zeroCentered = false]) => ({
  kernel: "rmsNormLora",
  name: `[${rows},${cols}] r ${r} ${dtype}${residual ? " + residual" : ""}${zeroCentered ? ", 1 + weight" : ""}`,
  tolerance: 3e-6,
  run(check) {
    const x = check.input([rows, cols], "x");
    const delta = check.input([rows, cols], "delta");
    const weight = check.input([cols], "weight", 1, dtype);
    const w = check.input([8, cols], "w");
    const a = check.input([r, cols], "lora_A");
    const b = check.input([8, r], "lora_B");
    const layer = oneLinear(w.tensor, null, { a: a.tensor, b: b.tensor, scale: 0.5, dropout: 0.5, index: 1 });
    const added = residual ? delta.tensor : null;
    const { y, sum, h } = rmsNormLora(check.record, x.tensor, { weight: weight.tensor, zeroCentered }, EPS, added, [
      layer,
    ]);
    const values = residual ? x.values.map((v, i) => Math.fround(v + delta.values[i])) : x.values;
    const normed = rmsNormReference(
      values,
      weight.values.map((w) => (zeroCentered ? 1 + w : w)),
      EPS,
    );
    check.compare("sum", sum, values);
    check.compare("y", y, normed);
    const want = matmulReference(normed, a.values, [rows, r, cols], { transB: true });
    check.compare(
      "h",
      h[0]!,
      want.map((v) => 0.5 * v),
    );
  },
}));
