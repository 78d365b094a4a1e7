import type { EvalRecord, EvalResults } from "../../eval/results.ts";
import { barLine } from "./progress.ts";
import { formatNumber, formatSeconds, renderTable } from "./table.ts";

/** Milliseconds between two drawings of the bar, and two lines where stderr is no terminal. */
const REDRAW = 100;
const REPEAT = 10_000;

/** The progress of an evaluation on stderr: responses and problems that have ended, time left, rate, right ones so far. */
export class EvalProgress {
  readonly #problems: number;
  readonly #n: number;
  readonly #status: (line: string | null) => void;
  readonly #began = performance.now();
  #tokens = 0;
  #ended = 0;
  #graded = 0;
  #right = 0;
  #drawnAt = 0;
  #saidAt = performance.now();

  constructor(problems: number, n: number, status: (line: string | null) => void) {
    this.#problems = problems;
    this.#n = n;
    this.#status = status;
  }

  tokens(count: number): void {
    this.#tokens += count;
    this.#draw();
  }

  /** A response has ended. */
  ended(): void {
    this.#ended++;
  }

  /** A problem's responses are graded. */
  graded({ n_correct }: EvalRecord): void {
    this.#graded++;
    this.#right += n_correct;
    this.#draw();
  }

  /** Takes the bar away and says what it took. */
  end(): void {
    this.#status(null);
    const { seconds } = this;
    const rate = formatNumber(Math.round(this.#tokens / seconds));
    console.error(
      `${this.#ended} of ${this.#problems * this.#n} responses, ${formatNumber(this.#tokens)} tokens in ${formatSeconds(seconds)}, ${rate} tok/s`,
    );
  }

  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  #draw(): void {
    const at = performance.now();
    if (at - this.#drawnAt < REDRAW) return;
    this.#drawnAt = at;
    const total = this.#problems * this.#n;
    const left = (this.seconds / this.#ended) * (total - this.#ended);
    const facts = [`${this.#ended}/${total} responses`];
    if (this.#ended === total) facts.push(`${this.#graded}/${this.#problems} problems graded`);
    else if (this.#ended > 0) facts.push(`${formatSeconds(left)} left`);
    facts.push(`${formatNumber(Math.round(this.#tokens / this.seconds))} tok/s`);
    if (this.#graded > 0) facts.push(`${percentText((100 * this.#right) / (this.#graded * this.#n))} right`);
    if (process.stderr.isTTY) this.#status(barLine(facts, this.#ended / total, (process.stderr.columns || 80) - 1));
    else if (at - this.#saidAt >= REPEAT) {
      this.#saidAt = at;
      console.error(facts.join("  "));
    }
  }
}

const percentText = (share: number) => `${share.toFixed(1)} %`;

/** An evaluation's results as tables. */
export function resultsTable(results: EvalResults, width?: number): string {
  const right = { align: "right" as const };
  const { total_problems: problems, n_sampling: n, majority_accuracy } = results;
  const numbers: [string, string][] = [
    ...Object.entries(results.pass_at).map(([k, share]): [string, string] => [`pass@${k}`, percentText(share)]),
    ...(n > 1 && !(n in results.pass_at) ? [["any right", percentText(results.accuracy)] as [string, string]] : []),
    ...(n > 1 && majority_accuracy !== null ? [["majority", percentText(majority_accuracy)] as [string, string]] : []),
    ["tokens a response", formatNumber(results.avg_completion_tokens)],
    ["ended by itself", percentText(results.ended)],
  ];
  const counted = (count: number, what: string) => `${formatNumber(count)} ${what}${count === 1 ? "" : "s"}`;
  const title = `${results.dataset}: ${counted(problems, "problem")}, ${counted(n, "response")} each at temperature ${results.temperature}`;
  const tables = [
    `${title}\n`,
    renderTable([{ heading: results.model_type }, { heading: "", ...right }], numbers, width),
  ];
  const sources = Object.entries(results.source_stats);
  if (sources.length > 1) {
    const rows = sources.map(([name, { total }]) => [name, total, percentText(results.source_accuracies[name])]);
    const columns = [{ heading: "source" }, { heading: "problems", ...right }, { heading: "any right", ...right }];
    tables.push(renderTable(columns, rows, width));
  }
  const levels = Object.entries(results.difficulty_accuracies);
  if (levels.length > 0) {
    const rows = levels.map(([name, share]) => [name, percentText(share)]);
    tables.push(renderTable([{ heading: "difficulty" }, { heading: "pass@1", ...right }], rows, width));
  }
  if (results.outcomes) {
    const rows = Object.entries(results.outcomes).map(([name, count]) => [name.replaceAll("_", " "), count]);
    tables.push(renderTable([{ heading: "programs" }, { heading: "", ...right }], rows, width));
  }
  return tables.join("\n").trimEnd();
}
