import type { KernelCase } from "../check.ts";
import { gradNorm, gradNormReference } from "./grad-norm.ts";

const LENGTHS = [[1], [63, 65], [894, 1, 4096], [600_000, 7]] as const;

/** Cases of the norm: lengths, limits and tolerances; the longest exceeds one workgroup's share many times. */
export const gradNormCases: KernelCase[] = LENGTHS.flatMap((lengths) =>
  [0, 0.5, 1e6].map(
    (maxNorm): KernelCase => ({
      kernel: "gradNorm",
      name: `of [${lengths}] to ${maxNorm}`,
      tolerance: 2e-6,
      run(check) {
        const grads = lengths.map((n, i) => check.input([n], `grad ${i}`));
        const norm = gradNorm(
          check.record,
          grads.map((g) => g.tensor),
          maxNorm,
        );
        const values = grads.map((g) => g.values);
        const [size, scale] = gradNormReference(values, maxNorm);
        check.compare("norm", { ...norm, shape: [1], bytes: 4 }, [size]);
        check.compare("scale", { ...norm, shape: [1], offset: 4, bytes: 4 }, [scale]);
      },
    }),
  ),
);
