import type { KernelCase } from "../check.ts";
import { lion, lionReference } from "./lion.ts";

const OPTIONS = { learning_rate: 1e-2, beta1: 0.9, beta2: 0.99, weight_decay: 0.1 };

/** Lengths and tolerances that Lion is held to: three updates in a row. */
export const lionCases: KernelCase[] = [1, 63, 65, 894, 4096].map((n) => ({
  kernel: "lion",
  name: `[${n}]`,
  tolerance: 5e-6,
  run(check) {
    const param = check.input([n], "param");
    const m = check.given(new Float32Array(n), [n], "exp_avg");
    const norm = check.given(Float32Array.of(3, 0.25), [2], "norm");
    const want = [param, m].map(({ values }) => values.slice());
    for (let step = 1; step <= 3; step++) {
      // of one sign a row of steps, so that no sum of moment and gradient is near 0, where f32 may fall on either side
      const drawn = Float32Array.from({ length: n }, (_, i) => (i % 2 ? -1 : 1) * (0.1 + Math.abs(check.random())));
      if (n > 1) drawn[1] = 0;
      const grad = check.given(drawn, [n], `grad ${step}`);
      const tensors = { param: param.tensor, grad: grad.tensor, exp_avg: m.tensor };
      lion(check.record, tensors, norm.tensor, OPTIONS);
      lionReference(want[0], grad.values, want[1], 0.25, OPTIONS);
    }
    check.compare("param", param.tensor, want[0]);
    check.compare("exp_avg", m.tensor, want[1]);
  },
}));
