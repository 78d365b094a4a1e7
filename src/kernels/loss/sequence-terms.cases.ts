import type { KernelCase } from "../check.ts";
import { sequenceTerms, sequenceTermsReference } from "./sequence-terms.ts";

interface Setting {
  lengths: number[];
  old: boolean;
  kl: boolean;
  counted: boolean;
  /** how far log-probs lie apart */
  spread?: number;
}

const SETTINGS: Setting[] = [
  { lengths: [1], old: true, kl: false, counted: false },
  { lengths: [63, 0, 65], old: true, kl: true, counted: true },
  { lengths: [2, 894, 1], old: false, kl: true, counted: true },
  { lengths: [40, 3], old: true, kl: false, counted: true, spread: 40 }, // past both bounds of log-ratios
];

/** Lengths and kinds of rows that the terms of sequences are held to. */
export const sequenceTermsCases: KernelCase[] = SETTINGS.map(({ lengths, old, kl, counted, spread = 0.7 }) => ({
  kernel: "sequenceTerms",
  name: `[${lengths}]${old ? ", old" : ""}${kl ? ", kl" : ""}${counted ? ", counted" : ""}, ±${spread}`,
  tolerance: 1e-5,
  run(check) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1)! + length);
    const n = starts.at(-1)!;
    const logp = check.input([n], "logp", 3);
    const packed = new Float32Array(4 * n);
    for (let i = 0; i < n; i++) {
      const lp = logp.values[i];
      packed.set([check.random(), check.random(), lp + spread * check.random(), lp + 0.5 * check.random()], 4 * i);
    }
    const rows = check.given(packed, [n, 4], "rows");
    const flags = Float32Array.from({ length: n }, () => (check.random() > 0.2 ? 1 : 0));
    const mask = counted ? check.given(flags, [n], "counted") : null;
    const kinds = { old, kl };
    const got = sequenceTerms(
      check.record,
      { logp: logp.tensor, rows: rows.tensor, counted: mask?.tensor ?? null },
      check.integers(starts, "starts"),
      kinds,
    );
    const want = { logp: logp.values, rows: rows.values, counted: mask?.values ?? null };
    check.compare("terms", got, sequenceTermsReference(want, starts, kinds));
  },
}));
