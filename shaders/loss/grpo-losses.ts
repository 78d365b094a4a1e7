import { sigmoid } from "../lib/sigmoid.ts";

// Every loss_type of GRPO is one record in this file: its token term (in WGSL and in float64), divisor, logged
// statistics, options and help. The shader, its reference, the trainer's weights and metrics, and the recipe's table
// are derived from these records.

/** Options of a recipe that token terms read, as fields of its table. Names, meanings and defaults are GRPOConfig's. */
export const GRPO_LOSS_OPTIONS = [
  {
    name: "epsilon",
    type: "number",
    default: 0.2,
    min: 0,
    help: "Importance ratios are clipped below at 1 - epsilon.",
  },
  {
    name: "epsilon_high",
    type: "number",
    default: null,
    nullable: true,
    min: 0,
    help: "Importance ratios are clipped above at 1 + epsilon_high. In cispo the bound is epsilon_high itself, and 5 is usual. null uses epsilon.",
  },
  {
    name: "delta",
    type: "number",
    default: null,
    nullable: true,
    above: 0,
    help: "Second upper bound of the importance ratio, which applies to negative advantages too. It must be larger than 1 + epsilon_high. null is off.",
  },
  {
    name: "sapo_temperature_pos",
    type: "number",
    default: 1,
    above: 0,
    help: "sapo: steepness of the gate for tokens of positive advantage.",
  },
  {
    name: "sapo_temperature_neg",
    type: "number",
    default: 1.05,
    above: 0,
    help: "sapo: steepness of the gate for the other tokens.",
  },
  {
    name: "vespo_k_pos",
    type: "number",
    default: 2,
    min: 0,
    help: "vespo: the larger, the less completions count that became less likely. For advantages of at least 0.",
  },
  {
    name: "vespo_lambda_pos",
    type: "number",
    default: 3,
    min: 0,
    help: "vespo: the larger, the less completions count that became more likely. For advantages of at least 0.",
  },
  {
    name: "vespo_k_neg",
    type: "number",
    default: 3,
    min: 0,
    help: "vespo_k_pos for negative advantages.",
  },
  {
    name: "vespo_lambda_neg",
    type: "number",
    default: 2,
    min: 0,
    help: "vespo_lambda_pos for negative advantages.",
  },
] as const;

type Option = (typeof GRPO_LOSS_OPTIONS)[number];
type OptionName = Option["name"];

/** Values of these options. */
export type LossSettings = {
  [O in Option as O["name"]]: number | (O extends { nullable: true } ? null : never);
};

/** Their defaults. */
export const GRPO_LOSS_DEFAULTS = Object.fromEntries(
  GRPO_LOSS_OPTIONS.map((option) => [option.name, option.default]),
) as LossSettings;

/** The options of a recipe that losses read. */
export function lossSettings(recipe: Readonly<LossSettings>): LossSettings {
  return Object.fromEntries(GRPO_LOSS_OPTIONS.map(({ name }) => [name, recipe[name]])) as LossSettings;
}

/** Inputs of a token's loss. */
interface Token {
  /** log-prob, nats */
  lp: number;
  /** advantage */
  a: number;
  /** importance ratio, and its logarithm */
  rho: number;
  log_rho: number;
  /** log of the whole sequence's ratio: the sum of its tokens' log-ratios, within bounds */
  log_w: number;
}

/**
 * A token's loss before weight and KL penalty, its slope by what the gradient goes through, and two numbers that
 * statistics are made of: for terms that clip, whether the ratio was clipped below (1 or 0), and above.
 */
interface TermValue {
  loss: number;
  slope: number;
  low: number;
  high: number;
}

/** A logged metric. */
interface Statistic {
  /** TRL's name */
  name: string;
  /** from a token's two numbers */
  of(low: number, high: number): number;
  /**
   * its mean over all tokens, or the least or greatest of the sequences' means; with ratios by sequence, over sequences.
   * `sequences`: always over sequences, and those of which nothing counts have the value `empty`
   */
  over: "all" | "least" | "greatest" | "sequences";
  empty?: number;
}

/** The loss of one token. */
interface TokenTerm {
  /** options that it reads */
  reads: readonly OptionName[];
  /** what the slope is by: the logarithm of the ratio, be it the token's or its sequence's, or the token's own log-prob */
  through: "ratio" | "logp";
  /** whether it reads `log_w` */
  wholeSequence?: boolean;
  /** f32 uniforms of the shader, from the options */
  uniforms: Readonly<Record<string, (options: LossSettings) => number>>;
  /**
   * WGSL after `lp`, `a`, `rho`, `log_rho` and `log_w` (f32, as in `Token`) and `params` with the uniforms: declares
   * `var loss`, `var slope`, `let low` and `let high`, all f32.
   */
  wgsl: string;
  /** the same in float64 */
  reference(token: Token, options: LossSettings): TermValue;
  statistics: readonly Statistic[];
  /** notes about a recipe's values */
  remarks(options: LossSettings): string[];
  /** why the term does not read an option; the text follows the loss's name */
  instead?: Partial<Record<OptionName, string>>;
}

/** TRL's bounds of a token's log-ratio in the sum over its sequence, and of that sum below. */
export const LOG_RATIO_MOST = 20;
export const LOG_W_LEAST = Math.log(1e-8);
/** vespo's least lambda. */
const LEAST_LAMBDA = 1e-4;
/** No limit: the largest f32. */
const NO_LIMIT = 3.4028234663852886e38;
const highOf = ({ epsilon, epsilon_high }: LossSettings) => epsilon_high ?? epsilon;

// min:  f = -min(min(rho, delta) A, clamp(rho, lower, upper) A)     df = -g A rho, g = 1 if the minimum depends on rho
// Source: Shao et al. 2024, arXiv:2402.03300; Ye et al. 2019, arXiv:1912.09729 (delta)
const clipped: TokenTerm = {
  reads: ["epsilon", "epsilon_high", "delta"],
  through: "ratio",
  uniforms: {
    lower: ({ epsilon }) => 1 - epsilon,
    upper: (options) => 1 + highOf(options),
    delta: ({ delta }) => delta ?? NO_LIMIT,
  },
  wgsl: `
  let first = min(rho, params.delta);
  let l1 = first * a;
  let l2 = clamp(rho, params.lower, params.upper) * a;
  var loss = -min(l1, l2);
  // equal terms have half the gradient each
  let g1 = select(0.0, 1.0, rho <= params.delta);
  let g2 = select(0.0, 1.0, rho >= params.lower && rho <= params.upper);
  let moves = select(select(0.5 * (g1 + g2), g1, l1 < l2), g2, l2 < l1);
  var slope = -moves * a * rho;
  let low = select(0.0, 1.0, first < params.lower && a < 0.0);
  let high = select(0.0, 1.0, first > params.upper && a > 0.0);`,
  reference({ a, rho }, options) {
    const limit = options.delta ?? Number.POSITIVE_INFINITY;
    const [lower, upper] = [1 - options.epsilon, 1 + highOf(options)];
    const first = Math.min(rho, limit);
    const second = Math.min(Math.max(rho, lower), upper);
    const moves = [rho <= limit ? 1 : 0, rho >= lower && rho <= upper ? 1 : 0];
    const which = first * a < second * a ? 0 : second * a < first * a ? 1 : null;
    return {
      loss: -Math.min(first * a, second * a),
      slope: -(which === null ? (moves[0] + moves[1]) / 2 : moves[which]) * a * rho,
      low: first < lower && a < 0 ? 1 : 0,
      high: first > upper && a > 0 ? 1 : 0,
    };
  },
  statistics: [
    { name: "clip_ratio/low_mean", of: (low) => low, over: "all" },
    { name: "clip_ratio/high_mean", of: (_, high) => high, over: "all" },
    { name: "clip_ratio/region_mean", of: (low, high) => Math.max(low, high), over: "all" },
    { name: "clip_ratio/low_min", of: (low) => low, over: "least" },
    { name: "clip_ratio/high_max", of: (_, high) => high, over: "greatest" },
  ],
  remarks(options) {
    const bound = 1 + highOf(options);
    if (options.delta === null || options.delta > bound) return [];
    return [`delta is ${options.delta}: it clips before 1 + epsilon_high = ${bound} does`];
  },
};

// cispo:  f = -min(rho, upper) A logp, the cap held constant          df = -min(rho, upper) A
// Source: MiniMax 2025, arXiv:2506.13585
const capped: TokenTerm = {
  reads: ["epsilon", "epsilon_high"],
  through: "logp",
  uniforms: { upper: highOf },
  wgsl: `
  let capped = min(rho, params.upper);
  var loss = -capped * a * lp;
  var slope = -capped * a;
  let low = 0.0;
  let high = select(0.0, 1.0, rho > params.upper && a > 0.0);`,
  reference({ lp, a, rho }, options) {
    const upper = highOf(options);
    const cap = Math.min(rho, upper);
    return { loss: -cap * a * lp, slope: -cap * a, low: 0, high: rho > upper && a > 0 ? 1 : 0 };
  },
  statistics: [{ name: "cispo_clip_ratio", of: (_, high) => high, over: "all" }],
  remarks(options) {
    const upper = highOf(options);
    if (upper >= 1) return [];
    return [`epsilon_high is ${upper}: cispo clips the ratio itself there, 1 included; 5 is usual`];
  },
  instead: { delta: "has one bound, epsilon_high" },
};

// sapo:  f = -s(t (rho - 1)) 4/t A, s the logistic function, t by the sign of A     df = -4 s (1 - s) rho A
// Source: arXiv:2511.20347
const gated: TokenTerm = {
  reads: ["sapo_temperature_pos", "sapo_temperature_neg"],
  through: "ratio",
  uniforms: {
    warm: ({ sapo_temperature_pos }) => sapo_temperature_pos,
    cold: ({ sapo_temperature_neg }) => sapo_temperature_neg,
  },
  wgsl: `
  let t = select(params.cold, params.warm, a > 0.0);
  let g = t * (rho - 1.0);
  let gate = ${sigmoid("f32")};
  var loss = -4.0 / t * gate * a;
  var slope = -4.0 * gate * (1.0 - gate) * rho * a;
  let low = 0.0;
  let high = 0.0;`,
  reference({ a, rho }, { sapo_temperature_pos, sapo_temperature_neg }) {
    const t = a > 0 ? sapo_temperature_pos : sapo_temperature_neg;
    const gate = 1 / (1 + Math.exp(-t * (rho - 1)));
    return { loss: (-4 / t) * gate * a, slope: -4 * gate * (1 - gate) * rho * a, low: 0, high: 0 };
  },
  statistics: [],
  remarks: () => [],
};

// vespo:  f = -phi A logp, phi = exp(l + k log w - l w) held constant, k and l by the sign of A     df = -phi A
// Source: arXiv:2602.10693
const weighted: TokenTerm = {
  reads: ["vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"],
  through: "logp",
  wholeSequence: true,
  uniforms: {
    k_pos: ({ vespo_k_pos }) => vespo_k_pos,
    l_pos: ({ vespo_lambda_pos }) => Math.max(LEAST_LAMBDA, vespo_lambda_pos),
    k_neg: ({ vespo_k_neg }) => vespo_k_neg,
    l_neg: ({ vespo_lambda_neg }) => Math.max(LEAST_LAMBDA, vespo_lambda_neg),
  },
  wgsl: `
  let k_w = select(params.k_neg, params.k_pos, a >= 0.0);
  let l_w = select(params.l_neg, params.l_pos, a >= 0.0);
  let log_phi = l_w + k_w * log_w - l_w * exp(log_w);
  var phi = 0.0; // also where f32 would overflow
  if (log_phi < 88.72) { phi = exp(log_phi); }
  var loss = -phi * a * lp;
  var slope = -phi * a;
  let low = phi;
  let high = 0.0;`,
  reference({ lp, a, log_w }, options) {
    const k = a >= 0 ? options.vespo_k_pos : options.vespo_k_neg;
    const lambda = Math.max(LEAST_LAMBDA, a >= 0 ? options.vespo_lambda_pos : options.vespo_lambda_neg);
    const log_phi = lambda + k * log_w - lambda * Math.exp(log_w);
    const phi = log_phi < 88.72 ? Math.exp(log_phi) : 0;
    return { loss: -phi * a * lp, slope: -phi * a, low: phi, high: 0 };
  },
  statistics: [{ name: "vespo/phi_seq_mean", of: (phi) => phi, over: "sequences", empty: 1 }],
  remarks: () => [],
};

/** Token terms by the name in a shader's variant. */
export const TOKEN_TERMS = { clipped, capped, gated, weighted } as const satisfies Record<string, TokenTerm>;
export type TokenTermName = keyof typeof TOKEN_TERMS;

/** Possible divisors of a loss. */
interface Batch {
  /** unmasked tokens: of the sequence, of the micro-batch */
  own: number;
  tokens: number;
  /** of the micro-batch */
  sequences: number;
  max_completion_length: number;
  /** unmasked tokens of one optimizer step, on average */
  num_items_in_batch: number;
}

/** The number that the terms of a sequence are divided by. */
interface Divisor {
  of(batch: Batch): number;
  /**
   * what the sum that it divides spans: where that is one micro-batch, it is divided by the micro-batches of an optimizer
   * step too, so that the loss of the step is a plain sum
   */
  spans: "micro-batch" | "step";
  /** the required setting */
  needs?: "max_completion_length" | "num_items_in_batch";
}

const completions: Divisor = { of: (b) => b.sequences * b.own, spans: "micro-batch" };
const sums: Divisor = { of: (b) => b.sequences, spans: "micro-batch" };
const tokensOfPass: Divisor = { of: (b) => b.tokens, spans: "micro-batch" };
const longest: Divisor = {
  of: (b) => b.sequences * Math.max(1, b.max_completion_length),
  spans: "micro-batch",
  needs: "max_completion_length",
};
const tokensOfStep: Divisor = {
  of: (b) => Math.max(1, b.num_items_in_batch),
  spans: "step",
  needs: "num_items_in_batch",
};

/** A value of `loss_type`. */
interface GrpoLoss {
  term: TokenTermName;
  divisor: Divisor;
  /** how it is averaged: the text after the name and a colon in the field's help */
  help: string;
}

/** Every loss, in the order of help. The first is the default. */
export const GRPO_LOSSES = {
  dapo: { term: "clipped", divisor: tokensOfStep, help: "over the tokens of the generation batch" },
  grpo: { term: "clipped", divisor: completions, help: "over each completion first, then over completions" },
  bnpo: { term: "clipped", divisor: tokensOfPass, help: "over the tokens of the pass" },
  dr_grpo: { term: "clipped", divisor: longest, help: "by max_completion_length" },
  cispo: { term: "capped", divisor: tokensOfStep, help: "as dapo with clipped importance weights" },
  sapo: { term: "gated", divisor: completions, help: "as grpo with a smooth gate in place of the clip" },
  luspo: {
    term: "clipped",
    divisor: sums,
    help: "sums of completions, averaged; for importance_sampling_level sequence",
  },
  vespo: { term: "weighted", divisor: tokensOfStep, help: "as dapo with smooth weights of whole completions" },
} as const satisfies Record<string, GrpoLoss>;

/** TRL's `loss_type`. */
export type GrpoLossType = keyof typeof GRPO_LOSSES;

/** Its names, the default first. */
export const grpoLossTypes = Object.keys(GRPO_LOSSES) as GrpoLossType[];

/** The token term of a loss. */
export function termOf(loss_type: GrpoLossType): TokenTerm {
  return TOKEN_TERMS[GRPO_LOSSES[loss_type].term];
}

/** The help of the field `loss_type`. */
export function grpoLossHelp(): string {
  const each = grpoLossTypes.map((name) => `${name}: ${GRPO_LOSSES[name].help}`);
  return `How the loss is clipped and averaged. ${each.join("; ")}.`;
}

/** Notes on the options of a recipe: unusual values, and options that its loss does not read. */
export function grpoLossRemarks(
  loss_type: GrpoLossType,
  options: LossSettings & { importance_sampling_level: unknown },
): string[] {
  const { reads, remarks, instead } = termOf(loss_type);
  const ignored = GRPO_LOSS_OPTIONS.filter((option) => {
    return options[option.name] !== option.default && !reads.includes(option.name);
  });
  const level = loss_type === "luspo" && options.importance_sampling_level === "token";
  return [
    ...remarks(options),
    ...(level ? ["luspo is meant for importance_sampling_level: sequence, and it is token"] : []),
    ...ignored.map(({ name }) => `${name} is ignored: ${loss_type} ${instead?.[name] ?? "does not read it"}`),
  ];
}
