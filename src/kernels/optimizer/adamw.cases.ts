import type { KernelCase } from "../check.ts";
import { type AdamWOptions, adamw, adamwReference } from "./adamw.ts";

const LENGTHS = [1, 63, 65, 894, 4096];
const OPTIONS = { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

/** Cases of AdamW: three updates in a row, and one late update. */
export const adamwCases: KernelCase[] = LENGTHS.flatMap((n) =>
  [
    [1, 2, 3],
    [1000, 1001],
  ].map(
    (steps): KernelCase => ({
      kernel: "adamw",
      name: `[${n}] steps ${steps}`,
      tolerance: 5e-6,
      run(check) {
        const param = check.input([n], "param");
        const m = check.given(
          fresh(n, steps[0], () => check.random() / 10),
          [n],
          "exp_avg",
        );
        const v = check.given(
          fresh(n, steps[0], () => check.random() ** 2 / 10),
          [n],
          "exp_avg_sq",
        );
        const norm = check.given(Float32Array.of(3, 0.25), [2], "norm");
        const want = [param, m, v].map((input) => input.values.slice());
        for (const step of steps) {
          const grad = check.input([n], `grad ${step}`);
          const options: AdamWOptions = { ...OPTIONS, step };
          adamw(
            check.record,
            { param: param.tensor, grad: grad.tensor, exp_avg: m.tensor, exp_avg_sq: v.tensor },
            norm.tensor,
            options,
          );
          adamwReference(want[0], grad.values, want[1], want[2], 0.25, options);
        }
        check.compare("param", param.tensor, want[0]);
        check.compare("exp_avg", m.tensor, want[1]);
        check.compare("exp_avg_sq", v.tensor, want[2]);
      },
    }),
  ),
);

/** Moments: zero before the first step. */
function fresh(n: number, step: number, draw: () => number): Float32Array {
  return Float32Array.from({ length: n }, () => (step === 1 ? 0 : draw()));
}
