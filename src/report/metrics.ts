import { rewardName } from "./names.ts";
import type { Points } from "./scale.ts";
import type { LogRecord } from "./text.ts";

/** How pages, model cards and the terminal present a logged number. */
interface Metric {
  /** its name in logs, which is TRL's */
  readonly name: string;
  readonly label: string;
  /** shown at the top of a report */
  readonly headline?: true;
  /** shown as a column of a model card's table */
  readonly card?: true;
}

/** The most important logged numbers, in display order. */
export const METRICS: readonly Metric[] = [
  { name: "reward", label: "reward", headline: true, card: true },
  { name: "eval_reward", label: "eval reward", headline: true },
  { name: "rewards/accuracies", label: "reward accuracy", headline: true, card: true },
  { name: "eval_rewards/accuracies", label: "eval reward accuracy", headline: true, card: true },
  { name: "rewards/margins", label: "reward margin", card: true },
  { name: "loss", label: "loss", headline: true, card: true },
  { name: "eval_loss", label: "eval loss", headline: true, card: true },
  { name: "mean_token_accuracy", label: "token accuracy", headline: true, card: true },
  { name: "completions/mean_length", label: "tokens per completion", headline: true, card: true },
  { name: "completions/clipped_ratio", label: "share of completions cut off" },
  { name: "kl", label: "KL", card: true },
  { name: "entropy", label: "entropy" },
  { name: "grad_norm", label: "gradient norm" },
  { name: "learning_rate", label: "learning rate", card: true },
  { name: "epoch", label: "epoch", card: true },
  { name: "step", label: "steps", headline: true },
  { name: "num_tokens", label: "tokens", headline: true },
  { name: "tokens_per_second", label: "tokens / s", headline: true },
];

/** One line of a chart. */
export interface Series {
  readonly name: string;
  /** its label in the chart's key */
  readonly label: string;
  readonly points: Points;
}

/** A chart of a run's logs. */
export interface MetricChart {
  readonly id: string;
  readonly title: string;
  /** what its values count, for the axis */
  readonly unit: string;
  /** shown on the page while a run is active */
  readonly main?: true;
  /** has many series, and takes the width of two charts */
  readonly wide?: true;
  /** returns nothing if no log has its numbers */
  series(logs: readonly LogRecord[]): Series[];
}

type Names = readonly (readonly [name: string, label: string])[];

const chart = (id: string, title: string, unit: string, names: Names, main?: true): MetricChart => ({
  id,
  title,
  unit,
  main,
  series: (logs) => names.flatMap(([name, label]) => seriesOf(logs, name, label)),
});
const both = (name: string): Names => [
  [name, "train"],
  [`eval_${name}`, "held out"],
];

/** Charts in order of importance. */
export const CHARTS: readonly MetricChart[] = [
  chart("reward", "Reward", "reward", both("reward"), true),
  {
    id: "rewards",
    title: "Reward by function",
    unit: "reward",
    main: true,
    wide: true,
    series: (logs) =>
      [...new Set(logs.flatMap((log) => Object.keys(log)))].flatMap((name) => {
        const fn = /^rewards\/(.+)\/mean$/.exec(name)?.[1];
        return fn === undefined ? [] : seriesOf(logs, name, rewardName(fn));
      }),
  },
  chart(
    "preferred",
    "Share of pairs whose chosen answer has the higher reward",
    "share",
    both("rewards/accuracies"),
    true,
  ),
  chart(
    "margins",
    "Reward of chosen and rejected answers",
    "reward",
    [
      ["rewards/chosen", "chosen"],
      ["rewards/rejected", "rejected"],
      ["rewards/margins", "margin"],
      ["eval_rewards/margins", "margin on held-out pairs"],
    ],
    true,
  ),
  chart("loss", "Loss", "loss", both("loss"), true),
  chart("accuracy", "Mean token accuracy", "share", both("mean_token_accuracy"), true),
  chart(
    "length",
    "Completion length",
    "tokens",
    [
      ["completions/mean_length", "mean"],
      ["completions/max_length", "longest"],
      ["completions/min_length", "shortest"],
    ],
    true,
  ),
  chart("clipped", "Share of completions cut off", "share", both("completions/clipped_ratio")),
  chart("equal", "Share of prompts whose rewards are all equal", "share", both("frac_reward_zero_std")),
  chart("kl", "KL to the reference", "nats", [["kl", "kl"]], true),
  chart("clip", "Share of tokens clipped", "share", [
    ["clip_ratio/region_mean", "clipped"],
    ["cispo_clip_ratio", "clipped"],
  ]),
  chart("phi", "Weight of sequences", "weight", [["vespo/phi_seq_mean", "mean"]]),
  chart("entropy", "Entropy", "nats", both("entropy")),
  chart("coef", "Weight of the entropy bonus", "weight", [["entropy_coef", "weight"]]),
  chart("logps", "Log-prob of the answers", "nats", [
    ["logps/chosen", "chosen"],
    ["logps/rejected", "rejected"],
  ]),
  chart("norm", "Gradient norm before clipping", "norm", [["grad_norm", "norm"]]),
  chart("rate", "Learning rate", "learning rate", [["learning_rate", "rate"]], true),
  {
    id: "speed",
    title: "Tokens per second",
    unit: "tokens / s",
    main: true,
    series: (logs) =>
      [{ name: "tokens_per_second", label: "rate", points: speeds(logs) }].filter(({ points }) => points.length > 0),
  },
  chart("time", "Seconds per step", "seconds", [["step_time", "time"]]),
];

/** Every logged number, by name, except those that are an axis. */
export function loggedNames(logs: readonly LogRecord[]): string[] {
  const names = new Set(
    logs.flatMap((log) => Object.entries(log).flatMap(([name, value]) => (typeof value === "number" ? [name] : []))),
  );
  for (const axis of ["step", "time", "elapsed"]) names.delete(axis);
  return [...names];
}

/** A chart of one logged name, with its label and unit where a listed chart has them. */
export function namedChart(name: string): MetricChart {
  const known = METRICS.find((metric) => metric.name === name);
  const unit = UNITS.find(([pattern]) => pattern.test(name))?.[1] ?? "value";
  return { id: `name:${name}`, title: name, unit, series: (logs) => seriesOf(logs, name, known?.label ?? name) };
}

/** Units by the names' words; the first that matches. */
const UNITS: readonly (readonly [RegExp, string])[] = [
  [/tokens_per_second/, "tokens / s"],
  [/ratio|accurac|frac_/, "share"],
  [/step_time|_seconds|runtime/, "seconds"],
  [/length|tokens/, "tokens"],
  [/(^|[/_])kl|entropy|logps/, "nats"],
  [/reward/, "reward"],
  [/loss/, "loss"],
  [/learning_rate/, "learning rate"],
  [/epoch/, "epoch"],
];

/** The points of a logged name, or nothing if no log has a number for it. A value that JSON cannot represent becomes a gap. */
export function seriesOf(logs: readonly LogRecord[], name: string, label: string): Series[] {
  const points = logs
    .filter((log) => name in log)
    .map((log) => [log.step, typeof log[name] === "number" ? log[name] : Number.NaN] as const);
  return points.some(([, y]) => Number.isFinite(y)) ? [{ name, label, points }] : [];
}

/** Logged tokens per second, else computed from the tokens and seconds between two logs. */
function speeds(logs: readonly LogRecord[]): [number, number][] {
  const number = (log: LogRecord | undefined, name: string) => {
    const value = log?.[name];
    return typeof value === "number" ? value : null;
  };
  const own = logs.filter((log) => !Object.keys(log).some((name) => name.startsWith("eval_")));
  return own.flatMap((log, i): [number, number][] => {
    const logged = number(log, "tokens_per_second");
    if (logged !== null) return [[log.step, logged]];
    const [time, tokens] = [number(log, "step_time"), number(log, "num_tokens")];
    if (time === null || tokens === null) return [];
    const seconds = time * (log.step - (own[i - 1]?.step ?? 0));
    return seconds > 0 ? [[log.step, (tokens - (number(own[i - 1], "num_tokens") ?? 0)) / seconds]] : [];
  });
}
