import { METRICS } from "../../report/metrics.ts";
import { rewardName } from "../../report/names.ts";
import { formatNumber } from "../../text/numbers.ts";
import { formatSeconds } from "../../text/times.ts";

/** The output for progress: process.stderr, or a stand-in. */
interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** columns of the terminal, read again for every line */
  readonly columns?: number;
}

interface ProgressOptions {
  stream: ProgressStream;
  /** total optimizer steps of the run */
  total: number;
  /** steps before this process, in a resumed run */
  start?: number;
  /** clock in milliseconds, from any fixed time */
  now?: () => number;
  /** the environment variable NO_COLOR */
  noColor?: boolean;
}

/** Facts about a step: `step` counted from 1, `tokens` processed, and numbers by TRL's names. */
interface ProgressStep {
  step: number;
  tokens?: number;
  loss?: number;
  /** mean reward of the newest completions; null if an earlier process sampled them */
  reward?: number | null;
  /** mean difference between the rewards of chosen and rejected completions */
  margin?: number;
  /** mean length of the newest completions in tokens */
  completion_length?: number | null;
}

/** names at the start of a log line, in this order, with rewards by function after the first; other names follow */
const first = METRICS.map(({ name }) => name);
/** names that appear only in metrics.jsonl, because a GRPO log has about forty */
const unsaid =
  /^(eval_)?(rewards\/.*\/std|completions\/(min|max)_.*|completions\/mean_terminated.*|clip_ratio\/(low|high)_.*)$/;
/** short names of a log line; metrics.jsonl has TRL's */
const SHORT: Readonly<Record<string, string>> = {
  mean_token_accuracy: "accuracy",
  "completions/mean_length": "length",
  "completions/clipped_ratio": "clipped",
  learning_rate: "lr",
  "rewards/accuracies": "accuracy",
  "rewards/margins": "margin",
  tokens_per_second: "tok/s",
  num_tokens: "tokens",
};
/** names that a line has before any other */
const leading = ["reward", "rewards/accuracies", "rewards/margins", "loss", "completions/mean_length", "kl"];
const byFunction = /^(eval_)?rewards\/.+\/mean$/;
/** columns of a log line in a file or a pipe, and the least of a number */
const logWidth = 80;
const numberWidth = 5;
/** least time between two redraws, 5 a second: a terminal over a network is slow */
const redrawMs = 200;
/** weight of the newest step in the moving averages of time and tokens */
const newest = 0.2;

/**
 * Shows a run's progress. On a terminal it redraws one line with a bar, loss, tokens/s and the time left. Elsewhere every log
 * is a plain line. It uses colour only on a terminal without NO_COLOR.
 */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  readonly #tty: boolean;
  #step: number;
  #loss: number | null = null;
  #reward: number | null = null;
  #margin: number | null = null;
  #length: number | null = null;
  #doing: string | null = null;
  #lastAt: number;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #drawnWidth = 0;
  /** widest number of each name in log lines so far, so that columns stay aligned */
  readonly #widths = new Map<string, number>();
  #secondsPerStep: number | null = null;
  #tokensPerStep: number | null = null;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#tty = options.stream.isTTY === true;
    this.#step = options.start ?? 0;
    this.#lastAt = this.#now();
  }

  /** Tokens per second over the last steps, or null before the first step. */
  get tokensPerSecond(): number | null {
    if (this.#secondsPerStep === null || this.#tokensPerStep === null || this.#secondsPerStep <= 0) return null;
    return this.#tokensPerStep / this.#secondsPerStep;
  }

  /** Seconds to the end at the current speed, or null before the first step. */
  get secondsLeft(): number | null {
    if (this.#secondsPerStep === null) return null;
    return Math.max(0, this.#options.total - this.#step) * this.#secondsPerStep;
  }

  /** Records a finished optimizer step. */
  step({ step, tokens, loss, reward, margin, completion_length }: ProgressStep): void {
    const at = this.#now();
    const steps = Math.max(1, step - this.#step);
    const seconds = (at - this.#lastAt) / 1000 / steps;
    this.#secondsPerStep = average(this.#secondsPerStep, seconds);
    if (tokens !== undefined) this.#tokensPerStep = average(this.#tokensPerStep, tokens / steps);
    if (loss !== undefined) this.#loss = loss;
    this.#reward = reward ?? this.#reward;
    this.#margin = margin ?? this.#margin;
    this.#length = completion_length ?? this.#length;
    this.#doing = null;
    this.#lastAt = at;
    this.#step = step;
    if (this.#tty && (at - this.#drawnAt >= redrawMs || step >= this.#options.total)) this.#draw(at);
  }

  /** Shows the progress of a long step in the bar. */
  doing(what: string): void {
    this.#doing = what;
    const at = this.#now();
    if (this.#tty && at - this.#drawnAt >= redrawMs) this.#draw(at);
  }

  /**
   * Prints a log as a separate line, above the bar if there is one: the most important numbers, in aligned columns, as many as
   * fit the terminal, or 80 columns. metrics.jsonl has all of them.
   */
  log(record: Readonly<Record<string, unknown>>): void {
    const { total, stream } = this.#options;
    const parts = Object.keys(record)
      .filter((name) => name !== "step" && typeof record[name] === "number" && !unsaid.test(name))
      .sort((a, b) => rank(a) - rank(b))
      .map((name) => {
        const text = formatNumber(record[name]);
        const width = Math.max(numberWidth, text.length, this.#widths.get(name) ?? 0);
        this.#widths.set(name, width);
        return { name, text: `${spoken(name)} ${text.padEnd(width)}` };
      });
    const head = `step ${record.step ?? this.#step}/${total}`.padEnd(6 + 2 * `${total}`.length);
    const left = this.secondsLeft;
    const tail = !this.#tty && left !== null && left > 0 ? [`${formatSeconds(left)} left`] : [];
    const room = this.#tty ? stream.columns || logWidth : logWidth;
    // the most important ones take their room first; shown are they in the usual order
    let free = room - [head, ...tail].join("  ").length;
    const chosen = new Set<string>();
    for (const { name, text } of [...parts].sort((a, b) => weight(a.name) - weight(b.name))) {
      if (text.length + 2 > free && chosen.size > 0) continue;
      chosen.add(name);
      free -= text.length + 2;
    }
    const shown = parts.filter(({ name }) => chosen.has(name)).map(({ text }) => text);
    this.message([head, ...shown, ...tail].join("  ").trimEnd());
  }

  /** Prints a line without disturbing the bar. */
  message(text: string): void {
    const shown = this.#drawnWidth > 0;
    this.#erase();
    this.#options.stream.write(`${text}\n`);
    if (shown) this.#draw(this.#now());
  }

  /** Restarts the step clock after an evaluation or a save. */
  rest(): void {
    this.#lastAt = this.#now();
  }

  /** Removes the bar. Later messages are plain lines. */
  done(): void {
    this.#erase();
  }

  #draw(at: number): void {
    const width = Math.max(10, (this.#options.stream.columns || 80) - 1);
    const text = barLine(this.#facts(), this.#step / Math.max(1, this.#options.total), width);
    // overwrite a longer previous line with spaces, not an escape code
    const cover = " ".repeat(Math.max(0, Math.min(this.#drawnWidth, width) - text.length));
    this.#options.stream.write(`\r${this.#colour(text)}${cover}`);
    this.#drawnAt = at;
    this.#drawnWidth = text.length;
  }

  #erase(): void {
    if (this.#drawnWidth === 0) return;
    const width = Math.max(10, (this.#options.stream.columns || 80) - 1);
    this.#options.stream.write(`\r${" ".repeat(Math.min(this.#drawnWidth, width))}\r`);
    this.#drawnWidth = 0;
  }

  #facts(): string[] {
    const facts = [`${this.#step}/${this.#options.total}`];
    if (this.#doing !== null) facts.push(this.#doing);
    if (this.#reward !== null) facts.push(`reward ${formatNumber(this.#reward)}`);
    if (this.#margin !== null) facts.push(`margin ${formatNumber(this.#margin)}`);
    if (this.#loss !== null) facts.push(`loss ${formatNumber(this.#loss)}`);
    const left = this.secondsLeft;
    if (left !== null) facts.push(`${formatSeconds(left)} left`);
    const rate = this.tokensPerSecond;
    if (rate !== null) facts.push(`${formatNumber(rate >= 100 ? Math.round(rate) : rate)} tok/s`);
    if (this.#length !== null && this.#doing === null)
      facts.push(`${formatNumber(Math.round(this.#length))} tokens per completion`);
    return facts;
  }

  #colour(text: string): string {
    if (this.#options.noColor) return text;
    return text
      .replace(/[━╸]+/, (bar) => `\u001b[36m${bar}\u001b[0m`)
      .replace(/╌+/, (bar) => `\u001b[2m${bar}\u001b[0m`);
  }
}

/** Fits bar and facts to the width. Drops facts that do not fit, last first; the bar takes the rest. */
export function barLine(facts: readonly string[], share: number, width: number): string {
  let shown = facts.slice();
  while (shown.length > 1 && shown.join("  ").length + 8 > width) shown = shown.slice(0, -1);
  const text = shown.join("  ");
  const room = Math.min(40, width - text.length - 2);
  if (room < 5) return text.slice(0, width);
  const filled = (share > 0 ? Math.min(1, share) : 0) * room;
  const whole = Math.floor(filled);
  const half = filled - whole >= 0.5 ? "╸" : "";
  return `${"━".repeat(whole)}${half}${"╌".repeat(room - whole - half.length)}  ${text}`;
}

/** Order in which names take the room of a line. */
function weight(name: string): number {
  const plain = name.replace(/^eval_/, "");
  if (leading.includes(plain)) return leading.indexOf(plain);
  if (byFunction.test(name)) return leading.length;
  return leading.length + 1 + rank(name);
}

/** Position in a log line. Names with equal positions keep their order. */
function rank(name: string): number {
  if (byFunction.test(name)) return 1;
  return first.includes(name) ? 2 * first.indexOf(name) : 2 * first.length;
}

/** `correctness` for `rewards/correctness_reward_func/mean`: short for a log line; metrics.jsonl has the full name. */
function spoken(name: string): string {
  const [, evaluated, fn] = /^(eval_)?rewards\/(.+)\/mean$/.exec(name) ?? [];
  if (fn !== undefined) return `${evaluated ?? ""}${rewardName(fn)}`;
  const [, before, plain] = /^(eval_)?(.+)$/.exec(name)!;
  return Object.hasOwn(SHORT, plain) ? `${before ?? ""}${SHORT[plain]}` : name;
}

function average(before: number | null, value: number): number {
  return before === null ? value : before + newest * (value - before);
}
