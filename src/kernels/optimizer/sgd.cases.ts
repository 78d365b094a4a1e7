import type { KernelCase } from "../check.ts";
import { sgd, sgdReference } from "./sgd.ts";

const OPTIONS = { learning_rate: 0.1, weight_decay: 0.2 };

/** Lengths and tolerances that gradient descent is held to: two updates in a row. */
export const sgdCases: KernelCase[] = [1, 63, 65, 894, 4096].map((n) => ({
  kernel: "sgd",
  name: `[${n}]`,
  tolerance: 2e-6,
  run(check) {
    const param = check.input([n], "param");
    const norm = check.given(Float32Array.of(3, 0.25), [2], "norm");
    const want = param.values.slice();
    for (let step = 1; step <= 2; step++) {
      const grad = check.input([n], `grad ${step}`);
      sgd(check.record, { param: param.tensor, grad: grad.tensor }, norm.tensor, OPTIONS);
      sgdReference(want, grad.values, 0.25, OPTIONS);
    }
    check.compare("param", param.tensor, want);
  },
}));
