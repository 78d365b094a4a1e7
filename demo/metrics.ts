import type { LogRecord, Method } from "../src/client/types.ts";
import type { Series } from "./chart.ts";
import { rewardName } from "./format.ts";

/** A chart of a run: which logged names it draws, and what its key calls each. */
export interface Metric {
  id: string;
  title: string;
  /** has many series, and takes the room of two */
  wide?: boolean;
  series(logs: readonly LogRecord[]): Series[];
}

const named = (id: string, title: string, names: Record<string, string>): Metric => ({
  id,
  title,
  series: (logs) => Object.entries(names).flatMap(([name, label]) => seriesOf(logs, name, label)),
});

const loss = named("loss", "Loss", { loss: "train", eval_loss: "held out" });
const rate = named("rate", "Learning rate", { learning_rate: "rate" });
const speed: Metric = {
  id: "speed",
  title: "Tokens per second",
  series: (logs) => [{ label: "rate", points: speeds(logs) }].filter(({ points }) => points.length > 0),
};

/** Charts of a method, the telling ones first. */
export const METRICS: Record<Method, readonly Metric[]> = {
  sft: [
    loss,
    named("accuracy", "Mean token accuracy", { mean_token_accuracy: "train", eval_mean_token_accuracy: "held out" }),
    rate,
    speed,
  ],
  grpo: [
    named("reward", "Reward", { reward: "train", eval_reward: "held out" }),
    {
      id: "rewards",
      title: "Reward by function",
      wide: true,
      series: (logs) =>
        [...new Set(logs.flatMap((log) => Object.keys(log)))]
          .flatMap((name) => /^rewards\/(.+)\/mean$/.exec(name)?.[1] ?? [])
          .flatMap((name) => seriesOf(logs, `rewards/${name}/mean`, rewardName(name))),
    },
    named("length", "Completion length, tokens", {
      "completions/mean_length": "mean",
      "completions/max_length": "longest",
      "completions/min_length": "shortest",
    }),
    named("kl", "KL to the reference, nats", { kl: "kl" }),
    loss,
    rate,
    speed,
  ],
};

/** Tokens per second as logged, else from the tokens and seconds between two logs. */
function speeds(logs: readonly LogRecord[]): [number, number][] {
  const own = logs.filter((log) => !Object.keys(log).some((name) => name.startsWith("eval_")));
  return own.flatMap((log, i): [number, number][] => {
    if ("tokens_per_second" in log) return [[log.step, log.tokens_per_second]];
    if (!("step_time" in log && "num_tokens" in log)) return [];
    const before = own[i - 1] ?? { step: 0, num_tokens: 0 };
    const seconds = log.step_time * (log.step - before.step);
    return seconds > 0 ? [[log.step, (log.num_tokens - before.num_tokens) / seconds]] : [];
  });
}

/** The points of a name, or nothing where no log holds it. A value that JSON could not hold is a gap. */
function seriesOf(logs: readonly LogRecord[], name: string, label: string): Series[] {
  const points = logs
    .filter((log) => name in log)
    .map((log) => [log.step, typeof log[name] === "number" ? log[name] : Number.NaN] as const);
  return points.length > 0 ? [{ label, points }] : [];
}
