import type { KernelCase } from "../check.ts";
import { deltaGates, deltaGatesBackward, deltaGatesReference } from "./gates.ts";

/** Tokens, heads, columns of x and the first of them, storage of A_log and dt_bias, size of what goes in. */
const SHAPES = [
  [1, 1, 2, 0, "f32", 1],
  [65, 3, 10, 4, "f32", 2],
  [130, 4, 72, 64, "bf16", 3],
  [7, 16, 40, 8, "f16", 30], // a and b far out: beta 0 and 1, decays of 0 and past 80
] as const;

/** What decays and step sizes are held to. */
export const deltaGatesCases: KernelCase[] = SHAPES.map(([tokens, heads, stride, at, dtype, scale]) => ({
  kernel: "deltaGates",
  name: `[${tokens},${heads}] ${dtype}, up to ${scale}, backward`,
  tolerance: 1e-5,
  needs: dtype === "f16" ? "f16" : undefined,
  run(check) {
    const x = check.input([tokens, stride], "x", scale);
    const rate = check.input([heads], "A_log", 1.5, dtype);
    const bias = check.input([heads], "dt_bias", 1, dtype);
    const dgates = check.input([tokens, heads, 2], "dgates");
    const dx = check.input([tokens, stride], "dx");
    const [drate, dbias] = [check.input([heads], "dA_log"), check.input([heads], "ddt_bias")];
    const rates = { rate: rate.tensor, bias: bias.tensor };
    const gates = deltaGates(check.record, x.tensor, at, rates);
    deltaGatesBackward(check.record, { x: x.tensor, at, gates, rates }, dgates.tensor, dx.tensor, {
      rate: drate.tensor,
      bias: dbias.tensor,
    });
    const wantGates = new Float64Array(tokens * heads * 2);
    const [wantDx, wantRate, wantBias] = [dx.values.slice(), drate.values.slice(), dbias.values.slice()];
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const [b, a] = [t * stride + at + h, t * stride + at + heads + h];
        const i = 2 * (t * heads + h);
        const want = deltaGatesReference(
          x.values[a],
          x.values[b],
          rate.values[h],
          bias.values[h],
          dgates.values[i],
          dgates.values[i + 1],
        );
        wantGates.set([want.g, want.beta], i);
        wantDx[b] = want.db;
        wantDx[a] = want.da;
        wantRate[h] += want.drate;
        wantBias[h] += want.dbias;
      }
    }
    check.compare("gates", gates, wantGates);
    check.compare("dx", dx.tensor, wantDx);
    check.compare("dA_log", drate.tensor, wantRate);
    check.compare("ddt_bias", dbias.tensor, wantBias);
  },
}));
