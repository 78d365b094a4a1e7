import type { KernelCase } from "../check.ts";
import { adafactor, adafactorReference, factorsOf } from "./adafactor.ts";

const OPTIONS = { learning_rate: 1e-2, weight_decay: 0.1 };

/** Shapes and tolerances that Adafactor is held to: three updates in a row. */
export const adafactorCases: KernelCase[] = [[1], [65], [894], [3, 5], [63, 65], [300, 64], [1, 7], [4, 1, 3]].map(
  (shape) => ({
    kernel: "adafactor",
    name: `[${shape}]`,
    tolerance: 1e-5,
    run(check) {
      const factors = factorsOf(shape);
      const param = check.input(shape, "param");
      const size = param.values.length;
      const row = check.given(new Float32Array(factors?.rows ?? size), [factors?.rows ?? size], "row");
      const column = factors && check.given(new Float32Array(factors.columns), [factors.columns], "column");
      const norm = check.given(Float32Array.of(3, 0.25), [2], "norm");
      const want = [param.values.slice(), row.values.slice(), column?.values.slice() ?? null] as const;
      for (let step = 1; step <= 3; step++) {
        const grad = check.input(shape, `grad ${step}`);
        const tensors = { param: param.tensor, grad: grad.tensor, row: row.tensor, column: column?.tensor ?? null };
        adafactor(check.record, tensors, norm.tensor, { ...OPTIONS, step });
        adafactorReference(want[0], grad.values, { row: want[1], column: want[2] }, 0.25, { ...OPTIONS, step });
      }
      check.compare("param", param.tensor, want[0]);
      check.compare("row", row.tensor, want[1]);
      if (column) check.compare("column", column.tensor, want[2]!);
    },
  }),
);
