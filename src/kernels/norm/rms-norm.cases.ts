import type { KernelCase } from "../check.ts";
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

/** Cases of rms_norm: shapes, storage and tolerances. */
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
        const { y } = rmsNorm(check.record, x.tensor, { weight: weight.tensor }, EPS);
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
        const scale = { weight: weight.tensor };
        const { y, rstd, sum } = rmsNorm(check.record, x.tensor, scale, EPS, delta.tensor);
        rmsNormBackward(check.record, sum, scale, rstd, dy.tensor, { into: into.tensor });
        const fresh = rmsNormBackward(check.record, sum, scale, rstd, dy.tensor);
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

/** Tokens, heads per row, first normed head and number of normed heads, head_dim. */
const HEADS = [
  { tokens: 1, per: 3, first: 0, take: 1, cols: 8 },
  { tokens: 5, per: 6, first: 4, take: 2, cols: 33 },
  { tokens: 7, per: 8, first: 0, take: 4, cols: 64 },
  // as gated attention has them: every second head is a gate, and what is made has none
  { tokens: 5, per: 12, first: 0, take: 4, cols: 32, step: 2, made: { per: 8, first: 0 }, zeroCentered: true },
  { tokens: 3, per: 20, first: 16, take: 2, cols: 256, made: { per: 12, first: 8 }, zeroCentered: true },
];

for (const { tokens, cols, zeroCentered = false, ...heads } of HEADS) {
  const { per, first, take, step = 1, made = { per, first } } = heads;
  rmsNormCases.push({
    kernel: "rmsNorm",
    name: `${take} of ${per} heads of ${cols}${zeroCentered ? ", 1 + weight" : ""}, backward`,
    tolerance: 1e-5,
    run(check) {
      const x = check.input([tokens, per * cols], "x");
      const y = check.input([tokens, made.per * cols], "y");
      const dy = check.input([tokens, made.per * cols], "dy");
      const weight = check.input([cols], "weight");
      const dweight = check.input([cols], "dweight");
      const scale = { weight: weight.tensor, zeroCentered };
      const { rstd } = rmsNorm(check.record, x.tensor, scale, EPS, null, { rows: heads, into: y.tensor });
      rmsNormWeightBackward(check.record, x.tensor, rstd, dy.tensor, dweight.tensor, heads);
      rmsNormBackward(check.record, x.tensor, scale, rstd, dy.tensor, { heads });
      const [wantY, wantDx, wantDw] = [y.values.slice(), dy.values.slice(), dweight.values.slice()];
      const scales = weight.values.map((w) => (zeroCentered ? 1 + w : w));
      for (let t = 0; t < tokens; t++) {
        for (let head = 0; head < take; head++) {
          const at = (t * per + first + head * step) * cols;
          const to = (t * made.per + made.first + head) * cols;
          const row = x.values.slice(at, at + cols);
          const back = rmsNormBackwardReference(row, scales, EPS, dy.values.slice(to, to + cols));
          wantY.set(rmsNormReference(row, scales, EPS), to);
          wantDx.set(back.dx, to);
          back.dweight.forEach((d, c) => {
            wantDw[c] += d;
          });
        }
      }
      check.compare("y", y.tensor, wantY);
      check.compare("dx", dy.tensor, wantDx);
      check.compare("dweight", dweight.tensor, wantDw);
    },
  });
}
