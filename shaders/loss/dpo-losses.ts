// Every `loss_type` of DPO: a pair's loss and its derivatives. The recipe's fields, the shader and the reference use
// it.

/** Settings of a pair's loss, under TRL's names. */
export interface DpoLossSettings {
  beta: number;
  label_smoothing: number;
}

/** Inputs of a pair's loss. */
export interface Pair {
  /** log-prob of the chosen completion minus the reference's, nats: `c`; of the rejected completion: `r` */
  c: number;
  r: number;
  /** tokens of the chosen and of the rejected completion */
  nc: number;
  nr: number;
}

/** A pair's loss, and its derivatives by `c` and `r`. */
interface PairValue {
  loss: number;
  dc: number;
  dr: number;
}

/** A value of `loss_type`. */
interface DpoLoss {
  /** the text after the name and a colon in the field's help */
  help: string;
  /** whether it reads label_smoothing */
  smoothed: boolean;
  /**
   * WGSL after `c`, `r`, `nc`, `nr`, `beta` and `smoothing` (f32) and with `log_sigmoid` and `sigmoid`: declares
   * `var loss`, `var dc` and `var dr`.
   */
  wgsl: string;
  /** the same in float64 */
  reference(pair: Pair, settings: DpoLossSettings): PairValue;
}

/** ln σ(x) without overflow, and as exact for large x as log1p. */
const logSigmoid = (x: number) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (x: number) => Math.exp(logSigmoid(x));

/** A loss of the margin h = β(c − r), by its value and slope. */
const ofMargin = (
  wgsl: { loss: string; slope: string },
  reference: (h: number, smoothing: number) => [loss: number, slope: number],
): Pick<DpoLoss, "wgsl" | "reference"> => ({
  wgsl: `
  let h = beta * (c - r);
  var loss = ${wgsl.loss};
  let slope = beta * (${wgsl.slope});
  var dc = slope;
  var dr = -slope;`,
  reference({ c, r }, { beta, label_smoothing }) {
    const [loss, slope] = reference(beta * (c - r), label_smoothing);
    return { loss, dc: beta * slope, dr: -beta * slope };
  },
});

/** A loss of the two rewards u = βc and v = βr, by its value and slopes. */
const ofRewards = (
  wgsl: { loss: string; du: string; dv: string },
  reference: (u: number, v: number) => [loss: number, du: number, dv: number],
): Pick<DpoLoss, "wgsl" | "reference"> => ({
  wgsl: `
  let u = beta * c;
  let v = beta * r;
  var loss = ${wgsl.loss};
  var dc = beta * (${wgsl.du});
  var dr = beta * (${wgsl.dv});`,
  reference({ c, r }, { beta }) {
    const [loss, du, dv] = reference(beta * c, beta * r);
    return { loss, dc: beta * du, dr: beta * dv };
  },
});

/** Number of tokens for a mean. */
const atLeastOne = (n: number) => Math.max(1, n);

/** Every loss, in the order of help. The first is the default. Formulas: TRL 1.13's DPOTrainer. */
export const DPO_LOSSES = {
  // Rafailov et al. 2023, arXiv:2305.18290
  sigmoid: {
    help: "-ln σ(h)",
    smoothed: false,
    ...ofMargin({ loss: "-log_sigmoid(h)", slope: "-sigmoid(-h)" }, (h) => [-logSigmoid(h), -sigmoid(-h)]),
  },
  // Zhao et al. 2023, arXiv:2305.10425
  hinge: {
    help: "max(0, 1 - h)",
    smoothed: false,
    ...ofMargin({ loss: "max(0.0, 1.0 - h)", slope: "select(0.0, -1.0, h < 1.0)" }, (h) => [
      Math.max(0, 1 - h),
      h < 1 ? -1 : 0,
    ]),
  },
  // Azar et al. 2023, arXiv:2310.12036; log-probs per token, as in TRL
  ipo: {
    help: "the squared distance of the log-ratios a token from 1 / (2 beta)",
    smoothed: false,
    wgsl: `
  let off = c / max(nc, 1.0) - r / max(nr, 1.0) - 0.5 / beta;
  var loss = off * off;
  var dc = 2.0 * off / max(nc, 1.0);
  var dr = -2.0 * off / max(nr, 1.0);`,
    reference({ c, r, nc, nr }, { beta }) {
      const off = c / atLeastOne(nc) - r / atLeastOne(nr) - 0.5 / beta;
      return { loss: off * off, dc: (2 * off) / atLeastOne(nc), dr: (-2 * off) / atLeastOne(nr) };
    },
  },
  // Chowdhury et al. 2024, arXiv:2403.00409
  robust: {
    help: "sigmoid, corrected for label_smoothing, the share of pairs that are labelled the wrong way round",
    smoothed: true,
    ...ofMargin(
      {
        loss: "((smoothing - 1.0) * log_sigmoid(h) + smoothing * log_sigmoid(-h)) / (1.0 - 2.0 * smoothing)",
        slope: "((smoothing - 1.0) * sigmoid(-h) - smoothing * sigmoid(h)) / (1.0 - 2.0 * smoothing)",
      },
      (h, e) => [
        ((e - 1) * logSigmoid(h) + e * logSigmoid(-h)) / (1 - 2 * e),
        ((e - 1) * sigmoid(-h) - e * sigmoid(h)) / (1 - 2 * e),
      ],
    ),
  },
  // Ji et al. 2024, arXiv:2402.00856; KL of (σ(h), σ(-h)) from (1 - ε, ε)
  exo_pair: {
    help: "the divergence of the pair's odds from label_smoothing's",
    smoothed: true,
    ...ofMargin(
      {
        loss: "sigmoid(h) * (log_sigmoid(h) - log(1.0 - smoothing)) + sigmoid(-h) * (log_sigmoid(-h) - log(smoothing))",
        slope: "sigmoid(h) * sigmoid(-h) * (h - log(1.0 - smoothing) + log(smoothing))",
      },
      (h, e) => [
        sigmoid(h) * (logSigmoid(h) - Math.log1p(-e)) + sigmoid(-h) * (logSigmoid(-h) - Math.log(e)),
        sigmoid(h) * sigmoid(-h) * (h - Math.log1p(-e) + Math.log(e)),
      ],
    ),
  },
  // Chen et al. 2024, arXiv:2402.05369
  nca_pair: {
    help: "each completion against the reference, so that the chosen one does not become less likely",
    smoothed: false,
    ...ofRewards(
      {
        loss: "-log_sigmoid(u) - 0.5 * log_sigmoid(-u) - 0.5 * log_sigmoid(-v)",
        du: "0.5 * sigmoid(u) - sigmoid(-u)",
        dv: "0.5 * sigmoid(v)",
      },
      (u, v) => [
        -logSigmoid(u) - 0.5 * logSigmoid(-u) - 0.5 * logSigmoid(-v),
        0.5 * sigmoid(u) - sigmoid(-u),
        0.5 * sigmoid(v),
      ],
    ),
  },
  // Jung et al. 2024, arXiv:2404.04656, without its reward shift, as in TRL
  bco_pair: {
    help: "a classifier of chosen and rejected completions",
    smoothed: false,
    ...ofRewards({ loss: "-log_sigmoid(u) - log_sigmoid(-v)", du: "-sigmoid(-u)", dv: "sigmoid(v)" }, (u, v) => [
      -logSigmoid(u) - logSigmoid(-v),
      -sigmoid(-u),
      sigmoid(v),
    ]),
  },
  // Wu et al. 2024, arXiv:2405.00675
  sppo_hard: {
    help: "squared distances of the log-ratios from 1 / (2 beta) and -1 / (2 beta)",
    smoothed: false,
    wgsl: `
  let won = c - 0.5 / beta;
  let lost = r + 0.5 / beta;
  var loss = won * won + lost * lost;
  var dc = 2.0 * won;
  var dr = 2.0 * lost;`,
    reference({ c, r }, { beta }) {
      const [won, lost] = [c - 0.5 / beta, r + 0.5 / beta];
      return { loss: won * won + lost * lost, dc: 2 * won, dr: 2 * lost };
    },
  },
  // D'Oosterlinck et al. 2024, arXiv:2408.06266
  apo_zero: {
    help: "makes chosen completions likelier and rejected ones less likely, for pairs that are better than the model",
    smoothed: false,
    ...ofRewards(
      { loss: "sigmoid(-u) + sigmoid(v)", du: "-sigmoid(u) * sigmoid(-u)", dv: "sigmoid(v) * sigmoid(-v)" },
      (u, v) => [sigmoid(-u) + sigmoid(v), -sigmoid(u) * sigmoid(-u), sigmoid(v) * sigmoid(-v)],
    ),
  },
  apo_down: {
    help: "makes both less likely, rejected ones more so, for pairs that are worse than the model",
    smoothed: false,
    ...ofRewards(
      {
        loss: "sigmoid(u) + sigmoid(v - u)",
        du: "sigmoid(u) * sigmoid(-u) - sigmoid(v - u) * sigmoid(u - v)",
        dv: "sigmoid(v - u) * sigmoid(u - v)",
      },
      (u, v) => [
        sigmoid(u) + sigmoid(v - u),
        sigmoid(u) * sigmoid(-u) - sigmoid(v - u) * sigmoid(u - v),
        sigmoid(v - u) * sigmoid(u - v),
      ],
    ),
  },
  // sigmoid of log-ratios per token: Meng et al. 2024, arXiv:2405.14734, with a reference
  sigmoid_norm: {
    help: "sigmoid of log-ratios a token",
    smoothed: false,
    wgsl: `
  let h = beta * (c / max(nc, 1.0) - r / max(nr, 1.0));
  var loss = -log_sigmoid(h);
  let slope = -beta * sigmoid(-h);
  var dc = slope / max(nc, 1.0);
  var dr = -slope / max(nr, 1.0);`,
    reference({ c, r, nc, nr }, { beta }) {
      const h = beta * (c / atLeastOne(nc) - r / atLeastOne(nr));
      const slope = -beta * sigmoid(-h);
      return { loss: -logSigmoid(h), dc: slope / atLeastOne(nc), dr: -slope / atLeastOne(nr) };
    },
  },
} as const satisfies Record<string, DpoLoss>;

/** TRL's `loss_type`. */
export type DpoLossType = keyof typeof DPO_LOSSES;

/** Its names, the default first. */
export const dpoLossTypes = Object.keys(DPO_LOSSES) as DpoLossType[];

/** A loss by its name. */
export function dpoLossOf(loss_type: DpoLossType): DpoLoss {
  return DPO_LOSSES[loss_type];
}

/** The help of the field `loss_type`. */
export function dpoLossHelp(): string {
  const each = dpoLossTypes.map((name) => `${name}: ${DPO_LOSSES[name].help}`);
  return `The loss of a pair, where h is beta times the difference of the log-ratios of the chosen and the rejected completion. ${each.join("; ")}.`;
}

/** Values of TRL's `loss_type` that Qwench does not implement, with the reason. */
export const MISSING_DPO_LOSSES: Readonly<Record<string, string>> = {
  aot: "sorting the pairs of a batch is not implemented",
  aot_unpaired: "sorting the pairs of a batch is not implemented",
  discopop: "its blend of two losses is not implemented",
  sft: "the cross-entropy of the chosen completions is not implemented here; train it with qwench sft first",
};
