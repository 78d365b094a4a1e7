import { type DpoLossType, dpoLossOf, dpoLossTypes } from "../../../shaders/loss/dpo-losses.ts";
import type { KernelCase } from "../check.ts";
import {
  dpoLoss,
  dpoLossReference,
  type PairLossOptions,
  pairStats,
  sequenceSum,
  sequenceSumReference,
} from "./dpo-loss.ts";

interface Setting {
  loss_type: DpoLossType;
  /** rows of each completion, the chosen ones first */
  lengths: number[];
  beta?: number;
  /** spread of a token's log-probs around the reference's */
  spread?: number;
}

const ODD = [1, 63, 0, 65, 5, 130];

const SETTINGS: Setting[] = [
  ...dpoLossTypes.map((loss_type): Setting => ({ loss_type, lengths: ODD })),
  { loss_type: "sigmoid", lengths: [894, 1] },
  { loss_type: "sigmoid", lengths: [400, 494], beta: 2, spread: 1 }, // margins of hundreds
  { loss_type: "hinge", lengths: [40, 41, 42, 43], beta: 0.5 },
  { loss_type: "robust", lengths: [1, 1], beta: 0.01 },
];

/** Cases of DPO's loss: losses, lengths and tolerances. */
export const dpoLossCases: KernelCase[] = SETTINGS.map(({ loss_type, lengths, beta = 0.1, spread = 0.3 }) => {
  const options: PairLossOptions = {
    loss_type,
    beta,
    label_smoothing: dpoLossOf(loss_type).smoothed ? 0.1 : 0,
    weight: 0.25,
  };
  return {
    kernel: "dpoLoss",
    name: `[${lengths}], ${loss_type}, β ${beta}, ±${spread}`,
    tolerance: 2e-5,
    run(check) {
      const starts = [0];
      for (const length of lengths) starts.push(starts.at(-1)! + length);
      const n = starts.at(-1)!;
      const own = check.given(
        Float32Array.from({ length: n }, () => -2 + check.random()),
        [n],
        "logp",
      );
      const at = check.integers(starts, "starts");
      const sums = sequenceSumReference(own.values, starts);
      check.compare("sums", sequenceSum(check.record, own.tensor, at), sums);
      const ref = Float32Array.from(sums, (sum, s) => sum + spread * Math.sqrt(lengths[s]) * 4 * check.random());
      const ref_logp = check.given(ref, [lengths.length], "ref_logp");
      const tokens = check.given(Float32Array.from(lengths), [lengths.length], "tokens");
      const stats = pairStats(check.record, lengths.length / 2);
      const rows = { ref_logp: ref_logp.tensor, tokens: tokens.tensor, starts: at };
      const dlogp = dpoLoss(check.record, own.tensor, rows, stats, options);
      const values = { logp: own.values, ref_logp: ref_logp.values, tokens: tokens.values, starts };
      const want = dpoLossReference(values, options);
      check.compare("dlogp", dlogp, want.dlogp);
      check.compare("stats", stats, want.stats);
    },
  };
});
