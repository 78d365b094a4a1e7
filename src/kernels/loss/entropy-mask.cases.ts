import type { KernelCase } from "../check.ts";
import { entropyMask, entropyMaskReference } from "./entropy-mask.ts";

interface Setting {
  n: number;
  top: number;
  /** how many values there are; the rest are equal to others */
  distinct?: number;
  /** a value below zero, as rounding may leave of none */
  negative?: boolean;
}

const SETTINGS: Setting[] = [
  { n: 1, top: 0.2 },
  { n: 2, top: 0.5 },
  { n: 63, top: 0.2 },
  { n: 65, top: 0, negative: true },
  { n: 65, top: 0.999, negative: true },
  { n: 894, top: 0.8 },
  { n: 1000, top: 0.37, distinct: 5 },
  { n: 300, top: 0.5, distinct: 1 },
];

/** Numbers of rows, shares and ties that the mask of entropies is held to. */
export const entropyMaskCases: KernelCase[] = SETTINGS.map(({ n, top, distinct = n, negative }) => ({
  kernel: "entropyMask",
  name: `[${n}], the top ${top}, ${distinct} values${negative ? ", one below 0" : ""}`,
  tolerance: 1e-6,
  run(check) {
    const values = Float32Array.from({ length: distinct }, () => 3 * (1 + check.random()));
    const all = Float32Array.from({ length: n }, (_, i) => values[i % distinct]);
    if (negative) all[n >> 1] = -1e-7;
    const { tensor } = check.given(all, [n], "entropy");
    const options = { top_entropy_quantile: top, factor: -0.03 };
    const got = entropyMask(check.record, tensor, options);
    const want = entropyMaskReference(all, options);
    check.compare("counted", got.counted, want.counted);
    check.compare("slope", got.slope, want.slope);
  },
}));
