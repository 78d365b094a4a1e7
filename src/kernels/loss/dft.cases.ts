import type { KernelCase } from "../check.ts";
import { dftGradient, dftReference } from "./dft.ts";

/** Numbers of rows, and how unlikely their targets are, that DFT's gradient is held to. */
export const dftCases: KernelCase[] = [
  { count: 1, low: 1 },
  { count: 63, low: 3 },
  { count: 65, low: 10 },
  { count: 894, low: 90 },
].map(({ count, low }) => ({
  kernel: "dft",
  name: `[${count}], log-probs to −${2 * low}`,
  tolerance: 1e-5,
  run(check) {
    const given = Float32Array.from({ length: count }, () => -low * (1 + check.random()));
    const { tensor, values } = check.given(given, [count], "logp");
    check.compare("dlogp", dftGradient(check.record, tensor, 0.25), dftReference(values, 0.25).dlogp);
  },
}));
