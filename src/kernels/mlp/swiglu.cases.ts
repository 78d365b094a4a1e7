import type { KernelCase } from "../check.ts";
import { swiglu, swigluBackward, swigluBackwardReference, swigluReference } from "./swiglu.ts";

const SHAPES = [
  [1, 1, 4],
  [3, 63, 4],
  [5, 65, 1000],
  [7, 894, 8],
  [2, 64, 1000],
] as const;

/** Cases of swiglu: shapes, ranges of the gate and tolerances; beyond ±100 its sigmoid is 0 or 1 in f32. */
export const swigluCases: KernelCase[] = SHAPES.map(([rows, cols, scale]) => ({
  kernel: "swiglu",
  name: `[${rows},${cols}] gates to ±${scale}, forward and backward`,
  tolerance: 1e-5,
  run(check) {
    const gate = Float32Array.from({ length: rows * cols }, () => scale * check.random());
    const up = Float32Array.from(gate, () => check.random());
    const joined = new Float32Array(2 * rows * cols);
    for (let r = 0; r < rows; r++) {
      joined.set(gate.subarray(r * cols, (r + 1) * cols), 2 * r * cols);
      joined.set(up.subarray(r * cols, (r + 1) * cols), (2 * r + 1) * cols);
    }
    const gateUp = check.given(joined, [rows, 2 * cols], "gateUp");
    const dy = check.input([rows, cols], "dy");
    const y = swiglu(check.record, gateUp.tensor);
    swigluBackward(check.record, gateUp.tensor, dy.tensor);
    const [gates, ups] = [Float64Array.from(gate), Float64Array.from(up)];
    const want = swigluBackwardReference(gates, ups, dy.values);
    const forward = swigluReference(gates, ups);
    check.compare("y", y, forward);
    check.compare("y again", dy.tensor, forward);
    const both = joined.map((_, i) => {
      const [row, c] = [Math.floor(i / (2 * cols)), i % (2 * cols)];
      return c < cols ? want.dgate[row * cols + c] : want.dup[row * cols + c - cols];
    });
    check.compare("dgate, dup", gateUp.tensor, both);
  },
}));
