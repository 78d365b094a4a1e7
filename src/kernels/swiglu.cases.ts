import type { KernelCase } from "./check.ts";
import { swiglu, swigluBackward, swigluBackwardReference, swigluReference } from "./swiglu.ts";

const SHAPES = [
  [1, 1, 4],
  [3, 63, 4],
  [5, 65, 1000],
  [7, 894, 8],
  [2, 64, 1000],
] as const;

/** Shapes, ranges of the gate and tolerances that swiglu is held to; past ±100 its sigmoid is 0 or 1 in f32. */
export const swigluCases: KernelCase[] = SHAPES.map(([rows, cols, scale]) => ({
  kernel: "swiglu",
  name: `[${rows},${cols}] gates to ±${scale}, forward and backward`,
  tolerance: 1e-5,
  run(check) {
    const gate = check.input([rows, cols], "gate", scale);
    const up = check.input([rows, cols], "up");
    const dy = check.input([rows, cols], "dy");
    const y = swiglu(check.record, gate.tensor, up.tensor);
    swigluBackward(check.record, gate.tensor, up.tensor, dy.tensor);
    const want = swigluBackwardReference(gate.values, up.values, dy.values);
    check.compare("y", y, swigluReference(gate.values, up.values));
    check.compare("dgate", gate.tensor, want.dgate);
    check.compare("dup", up.tensor, want.dup);
  },
}));
