import type { KernelCase } from "../check.ts";
import { gatedRmsNorm, gatedRmsNormBackward, gatedRmsNormReference } from "./gated-rms-norm.ts";

const EPS = 1e-6;
/** Rows, heads, their size, columns of the gates' tensor and the first of them, storage of the scale. */
const SHAPES = [
  [1, 1, 4, 4, 0, "f32"],
  [65, 3, 16, 60, 12, "bf16"],
  [7, 2, 63, 130, 3, "f32"],
  [5, 4, 128, 520, 8, "f16"],
] as const;

/** What the gated norm of a delta net's heads is held to. */
export const gatedRmsNormCases: KernelCase[] = SHAPES.map(([rows, heads, size, stride, first, dtype]) => ({
  kernel: "gatedRmsNorm",
  name: `[${rows},${heads}·${size}], gates from ${first} of ${stride}, ${dtype}, backward`,
  tolerance: 1e-5,
  needs: dtype === "f16" ? "f16" : undefined,
  run(check) {
    const x = check.input([rows, heads * size], "x");
    const gate = check.input([rows, stride], "gate", 4);
    const weight = check.input([size], "weight", 1, dtype);
    const dy = check.input([rows, heads * size], "dy");
    const dgate = check.input([rows, stride], "dgate");
    const dweight = check.input([size], "dweight");
    const columns = { gate: gate.tensor, first };
    const { y, rstd } = gatedRmsNorm(check.record, x.tensor, columns, weight.tensor, EPS);
    gatedRmsNormBackward(check.record, { x: x.tensor, columns, weight: weight.tensor, rstd }, dy.tensor, {
      dgate: dgate.tensor,
      dweight: dweight.tensor,
    });
    const [wantY, wantDx] = [new Float64Array(x.values.length), new Float64Array(x.values.length)];
    const [wantDgate, wantDw] = [dgate.values.slice(), dweight.values.slice()];
    for (let item = 0; item < rows * heads; item++) {
      const at = item * size;
      const gateAt = Math.floor(item / heads) * stride + first + (item % heads) * size;
      const want = gatedRmsNormReference(
        x.values.slice(at, at + size),
        gate.values.slice(gateAt, gateAt + size),
        weight.values,
        EPS,
        dy.values.slice(at, at + size),
      );
      wantY.set(want.y, at);
      wantDx.set(want.dx, at);
      wantDgate.set(want.dgate, gateAt);
      want.dweight.forEach((d, c) => {
        wantDw[c] += d;
      });
    }
    check.compare("y", y, wantY);
    check.compare("dx", dy.tensor, wantDx);
    check.compare("dgate", dgate.tensor, wantDgate);
    check.compare("dweight", dweight.tensor, wantDw);
  },
}));
