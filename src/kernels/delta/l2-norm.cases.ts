import type { KernelCase } from "../check.ts";
import { type DeltaHeads, deltaWidth } from "./heads.ts";
import { deltaL2Norm, deltaL2NormBackward, deltaL2NormBackwardReference, deltaL2NormReference } from "./l2-norm.ts";

/** Tokens, key heads, value heads, their sizes. */
const SHAPES = [
  [1, 1, 1, 4, 4],
  [65, 2, 4, 16, 16],
  [5, 1, 3, 68, 8],
  [7, 2, 2, 128, 128],
] as const;

/** What the norms of query and key heads are held to. */
export const deltaL2NormCases: KernelCase[] = SHAPES.map(([tokens, k, v, dk, dv]) => ({
  kernel: "deltaL2Norm",
  name: `[${tokens},${k} of ${dk}], ${v} value heads, backward`,
  tolerance: 1e-5,
  run(check) {
    const heads: DeltaHeads = { num_key_heads: k, num_value_heads: v, key_head_dim: dk, value_head_dim: dv };
    const width = deltaWidth(heads);
    const x = check.input([tokens, width], "x");
    const dx = check.input([tokens, width], "dx");
    const parts = check.input([tokens, v, 2, dk], "parts");
    const scales = deltaL2Norm(check.record, x.tensor, heads);
    deltaL2NormBackward(check.record, { y: x.tensor, scales }, parts.tensor, dx.tensor, heads);
    const [y, wantDx] = [x.values.slice(), dx.values.slice()];
    const wantScales = new Float64Array(tokens * 2 * k);
    for (let t = 0; t < tokens; t++) {
      for (let head = 0; head < 2 * k; head++) {
        const at = t * width + head * dk;
        const row = x.values.slice(at, at + dk);
        const factor = head < k ? 1 / Math.sqrt(dk) : 1;
        const dy = Float64Array.from({ length: dk }, (_, c) => {
          let sum = 0;
          for (let n = 0; n < v / k; n++) {
            const from = ((t * v + (head % k) * (v / k) + n) * 2 + Math.floor(head / k)) * dk;
            sum += parts.values[from + c];
          }
          return sum;
        });
        wantScales[t * 2 * k + head] = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 1e-6));
        y.set(deltaL2NormReference(row, factor), at);
        wantDx.set(deltaL2NormBackwardReference(row, factor, dy), at);
      }
    }
    check.compare("y", x.tensor, y);
    check.compare("scales", scales, wantScales);
    check.compare("dx", dx.tensor, wantDx);
  },
}));
