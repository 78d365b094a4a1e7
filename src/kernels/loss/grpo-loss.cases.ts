import { GRPO_LOSS_DEFAULTS } from "../../../shaders/loss/grpo-losses.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import {
  grpoLoss,
  grpoLossReference,
  grpoStats,
  type RowLossOptions,
  sequenceLogRatio,
  sequenceLogRatioReference,
} from "./grpo-loss.ts";

interface Setting extends Partial<RowLossOptions> {
  ratio: "one" | "token" | "sequence";
  /** rows of each sequence */
  lengths: number[];
  /** rows of one chunk */
  chunk: number;
  /** spread of the log-probs */
  spread?: number;
}

const SETTINGS: Setting[] = [
  { ratio: "token", lengths: [1], chunk: 1 },
  { ratio: "one", lengths: [63], chunk: 64, beta: 0.04 },
  { ratio: "token", lengths: [5, 0, 60], chunk: 65, beta: 0.04 },
  { ratio: "token", lengths: [400, 494], chunk: 128, epsilon_high: 0.28, delta: 1.5 },
  { ratio: "token", lengths: [31, 34], chunk: 7, delta: 1.1, beta: 1, spread: 3 },
  { ratio: "sequence", lengths: [1, 63, 0, 65, 200], chunk: 50, beta: 0.1 },
  { ratio: "sequence", lengths: [894], chunk: 894, loss_type: "cispo", epsilon_high: 1.1 },
  { ratio: "token", lengths: [130], chunk: 130, loss_type: "cispo", epsilon_high: 1.2 },
  { ratio: "one", lengths: [9, 8], chunk: 4, loss_type: "cispo", epsilon_high: 5, beta: 0.02 },
  { ratio: "token", lengths: [65], chunk: 65, beta: 0.5, spread: 1e-3 }, // the terms of the KL cancel here
];

/** Cases of GRPO's loss: ratios, loss types, chunks and tolerances. */
export const grpoLossCases: KernelCase[] = SETTINGS.map((setting) => {
  const { ratio, lengths, chunk, spread = 0.5, ...rest } = setting;
  const options: RowLossOptions = {
    loss_type: "grpo",
    ...GRPO_LOSS_DEFAULTS,
    epsilon_high: 0.2,
    beta: 0,
    ...rest,
  };
  return {
    kernel: "grpoLoss",
    name: `[${lengths}] by ${chunk}, ${ratio}, ${Object.values(options)}, ±${spread}`,
    tolerance: 1e-5,
    run(check) {
      const { logp, values, starts } = logProbs(check, lengths, spread);
      const n = values.logp.length;
      const old = ratio === "one" ? null : check.given(values.old, [n], "old_logp");
      const ref = options.beta !== 0 ? check.given(values.ref, [n], "ref_logp") : null;
      const advantage = check.input([n], "advantage", 2);
      const weight = check.input([n], "weight");
      const given =
        ratio === "sequence"
          ? sequenceLogRatio(check.record, logp.tensor, old!.tensor, check.integers(starts, "starts"))
          : null;
      const log_ratio = given ? sequenceLogRatioReference(logp.values, old!.values, starts) : null;
      if (given) check.compare("log_ratio", given, log_ratio!);
      const rows = {
        advantage: advantage.tensor,
        weight: weight.tensor,
        old_logp: given ? null : (old?.tensor ?? null),
        log_ratio: given,
        ref_logp: ref?.tensor ?? null,
      };
      const want = grpoLossReference(
        {
          logp: logp.values,
          advantage: advantage.values,
          weight: weight.values,
          old_logp: given ? null : (old?.values ?? null),
          log_ratio,
          ref_logp: ref?.values ?? null,
        },
        options,
      );
      const stats = grpoStats(check.record, n);
      for (let start = 0; start < n; start += chunk) {
        const part = values.logp.slice(start, start + chunk);
        const { tensor } = check.given(part, [part.length], "logp.chunk");
        const dlogp = grpoLoss(check.record, tensor, rows, stats, start, options);
        // relative to the largest gradient of all chunks
        if (chunk >= n) check.compare("dlogp", dlogp, want.dlogp);
        else check.compare(`dlogp from ${start}`, dlogp, want.dlogp.slice(start, start + chunk));
      }
      const flat = new Float64Array(4 * n);
      for (let i = 0; i < n; i++) flat.set([want.loss[i], want.kl[i], want.low[i], want.high[i]], 4 * i);
      check.compare("stats", stats, flat);
      if (options.beta !== 0 && spread < 0.1) checkKl(check, stats, n, want.kl);
    },
  };
});

/** Compares small KL terms on their own: the larger flags beside them would hide their errors. */
function checkKl(check: CaseRun, stats: ReturnType<typeof grpoStats>, n: number, want: Float64Array): void {
  const kl = check.record.empty([n], "f32", "kl");
  for (let i = 0; i < n; i++) {
    check.record.copy({ ...stats, offset: stats.offset + 16 * i + 4, bytes: 4 }, { ...kl, offset: 4 * i, bytes: 4 });
  }
  check.compare("kl", kl, want);
}

function logProbs(check: CaseRun, lengths: readonly number[], spread: number) {
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  const n = starts.at(-1)!;
  // Log-ratios avoid the clip bounds, where f32 may fall on either side.
  const edges = [Math.log(0.8), Math.log(1.2), Math.log(1.28), Math.log(1.5), Math.log(1.1), 0];
  const logp = Float32Array.from({ length: n }, () => -2 + check.random());
  const old = logp.map((lp) => {
    let x = spread * check.random();
    while (edges.some((edge) => Math.abs(x - edge) < 1e-3 * spread)) x += 2e-3 * spread;
    return lp - x;
  });
  const ref = logp.map((lp) => lp + 2 * spread * check.random());
  return { logp: check.given(logp, [n], "logp"), values: { logp, old, ref }, starts };
}
