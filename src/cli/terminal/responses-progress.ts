import { formatNumber } from "../../text/numbers.ts";
import { formatSeconds } from "../../text/times.ts";
import { barLine } from "./progress.ts";

/** Milliseconds between two updates of the bar, or between two lines if stderr is not a terminal. */
const REDRAW = 100;
const REPEAT = 10_000;

interface ResponsesProgressOptions {
  /** total number of responses */
  total: number;
  status(line: string | null): void;
  /** additional text after the rate */
  more?(): string[];
}

/** Progress of responses on stderr: finished responses, time left, rate. */
export class ResponsesProgress {
  readonly #options: ResponsesProgressOptions;
  readonly #began = performance.now();
  #tokens = 0;
  #ended = 0;
  #drawnAt = 0;
  #saidAt = performance.now();

  constructor(options: ResponsesProgressOptions) {
    this.#options = options;
  }

  /** Whether all responses have finished. */
  get whole(): boolean {
    return this.#ended === this.#options.total;
  }

  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  tokens(count: number): void {
    this.#tokens += count;
    this.draw();
  }

  /** Records a finished response. */
  ended(): void {
    this.#ended++;
    this.draw();
  }

  draw(): void {
    const at = performance.now();
    if (at - this.#drawnAt < REDRAW) return;
    this.#drawnAt = at;
    const { total, status, more } = this.#options;
    const facts = [`${this.#ended}/${total} responses`];
    const left = (this.seconds / this.#ended) * (total - this.#ended);
    if (this.#ended > 0 && !this.whole) facts.push(`${formatSeconds(left)} left`);
    facts.push(`${this.#rate} tok/s`, ...(more?.() ?? []));
    if (process.stderr.isTTY) status(barLine(facts, this.#ended / total, (process.stderr.columns || 80) - 1));
    else if (at - this.#saidAt >= REPEAT) {
      this.#saidAt = at;
      console.error(facts.join("  "));
    }
  }

  /** Removes the bar and prints a summary. */
  end(): void {
    this.#options.status(null);
    console.error(
      `${this.#ended} of ${this.#options.total} responses, ${formatNumber(this.#tokens)} tokens in ${formatSeconds(this.seconds)}, ${this.#rate} tok/s`,
    );
  }

  get #rate(): string {
    return formatNumber(Math.round(this.#tokens / this.seconds));
  }
}
