import { GRPO_LOSS_DEFAULTS } from "../../../shaders/loss/grpo-losses.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import { grpoLoss, grpoLossReference, grpoStats, needsSequences, type RowLossOptions } from "./grpo-loss.ts";
import { sequenceTerms, sequenceTermsReference } from "./sequence-terms.ts";

interface Setting extends Partial<RowLossOptions> {
  /** whether there are log-probs of when rows were generated */
  old: boolean;
  /** rows of each sequence */
  lengths: number[];
  /** rows of one chunk */
  chunk: number;
  /** spread of the log-probs */
  spread?: number;
  /** whether some rows count and some do not */
  counted?: boolean;
}

const bySequence = { importance_sampling_level: "sequence" } as const;
const plain = { use_bias_correction_kl: false } as const;

const SETTINGS: Setting[] = [
  { old: true, lengths: [1], chunk: 1 },
  { old: false, lengths: [63], chunk: 64, beta: 0.04 },
  { old: true, lengths: [5, 0, 60], chunk: 65, beta: 0.04, ...plain },
  { old: true, lengths: [400, 494], chunk: 128, epsilon_high: 0.28, delta: 1.5 },
  { old: true, lengths: [31, 34], chunk: 7, delta: 1.1, beta: 1, spread: 3 },
  { old: true, lengths: [1, 63, 0, 65, 200], chunk: 50, beta: 0.1, ...bySequence },
  { old: true, lengths: [1, 63, 0, 65], chunk: 50, beta: 0.1, ...bySequence, ...plain },
  { old: false, lengths: [40, 25], chunk: 65, beta: 0.1, counted: true, ...bySequence },
  { old: true, lengths: [894], chunk: 894, loss_type: "cispo", epsilon_high: 1.1, ...bySequence },
  { old: true, lengths: [130], chunk: 130, loss_type: "cispo", epsilon_high: 1.2 },
  { old: false, lengths: [9, 8], chunk: 4, loss_type: "cispo", epsilon_high: 5, beta: 0.02, ...plain },
  { old: true, lengths: [65], chunk: 65, beta: 0.5, spread: 1e-3, ...plain }, // where the terms of the KL cancel
  { old: true, lengths: [65], chunk: 65, beta: 0.5, spread: 1e-3 },
  { old: true, lengths: [31, 34], chunk: 16, loss_type: "sapo", beta: 0.1 },
  { old: true, lengths: [31, 34], chunk: 65, loss_type: "sapo", counted: true, ...bySequence },
  { old: true, lengths: [63, 1], chunk: 64, loss_type: "luspo", counted: true, ...bySequence },
  { old: true, lengths: [7, 9, 6, 3], chunk: 11, loss_type: "vespo", counted: true, beta: 0.1, spread: 0.2 },
  { old: true, lengths: [65, 60], chunk: 65, loss_type: "vespo", vespo_lambda_neg: 0, spread: 3, ...bySequence },
  { old: false, lengths: [5], chunk: 5, loss_type: "vespo" },
  { old: true, lengths: [30, 20, 15], chunk: 65, off_policy_mask_threshold: 0.01, beta: 0.1 },
  { old: true, lengths: [30, 20, 15], chunk: 65, off_policy_mask_threshold: 0.01, counted: true },
];

/** Ratios, loss types, masks, chunks and tolerances that GRPO's loss is held to. */
export const grpoLossCases: KernelCase[] = SETTINGS.map((setting) => {
  const { old, lengths, chunk, spread = 0.5, counted = false, ...rest } = setting;
  const options: RowLossOptions = {
    loss_type: "grpo",
    importance_sampling_level: "token",
    ...GRPO_LOSS_DEFAULTS,
    epsilon_high: 0.2,
    beta: 0,
    use_bias_correction_kl: true,
    off_policy_mask_threshold: null,
    ...rest,
  };
  return {
    kernel: "grpoLoss",
    name: `[${lengths}] by ${chunk}, ${old ? "old" : "on-policy"}, ${counted ? "masked, " : ""}${Object.values(options)}, ±${spread}`,
    tolerance: 1e-5,
    run(check) {
      const { logp, rows, starts } = inputs(check, lengths, spread);
      const n = starts[starts.length - 1];
      const flags = Float32Array.from({ length: n }, () => (check.random() > 0 ? 1 : 0));
      const mask = counted ? check.given(flags, [n], "counted") : null;
      const kinds = { old, kl: options.beta !== 0 };
      const sequences = needsSequences(options, { old, counted });
      const onGpu = { logp: logp.tensor, rows: rows.tensor, counted: mask?.tensor ?? null };
      const values = { logp: logp.values, rows: rows.values, counted: mask?.values ?? null };
      const given = sequences ? sequenceTerms(check.record, onGpu, check.integers(starts, "starts"), kinds) : null;
      const wanted = sequences ? sequenceTermsReference(values, starts, kinds) : null;
      const want = grpoLossReference({ ...values, old, sequences: wanted }, options);
      const stats = grpoStats(check.record, n);
      for (let start = 0; start < n; start += chunk) {
        const part = Float32Array.from(logp.values.subarray(start, start + chunk));
        const { tensor } = check.given(part, [part.length], "logp.chunk");
        const dlogp = grpoLoss(check.record, tensor, { ...onGpu, old, sequences: given }, stats, start, options);
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

function inputs(check: CaseRun, lengths: readonly number[], spread: number) {
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  const n = starts.at(-1)!;
  // Log-ratios avoid the clip bounds, where f32 may fall on either side.
  const edges = [Math.log(0.8), Math.log(1.2), Math.log(1.28), Math.log(1.5), Math.log(1.1), 0];
  const logp = Float32Array.from({ length: n }, () => -2 + check.random());
  const rows = new Float32Array(4 * n);
  lengths.forEach((_, s) => {
    const sign = s % 2 ? -1 : 1;
    const [advantage, weight] = [sign * (0.5 + Math.abs(check.random())), 0.5 + Math.abs(check.random())];
    for (let i = starts[s]; i < starts[s + 1]; i++) {
      let x = spread * check.random();
      while (edges.some((edge) => Math.abs(x - edge) < 1e-3 * spread)) x += 2e-3 * spread;
      rows.set([advantage, weight, logp[i] - x, logp[i] + 2 * spread * check.random()], 4 * i);
    }
  });
  return { logp: check.given(logp, [n], "logp"), rows: check.given(rows, [n, 4], "rows"), starts };
}
