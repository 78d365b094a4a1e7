import type { StageProgress } from "../../session/data/stages.ts";
import { formatNumber } from "../../text/numbers.ts";
import { formatSeconds } from "../../text/times.ts";
import { barLine } from "./progress.ts";
import { statusLine } from "./status-line.ts";

const REDRAW = 100;
const REPEAT = 10_000;
const DOING = { create: "replies", curate: "ratings", support: "checks" };

/** Progress of `qwench data` on stderr: replies, pairs a minute, time left. */
export class DataProgress {
  readonly #status = statusLine();
  #stage: StageProgress["stage"] | null = null;
  #began = 0;
  #first = 0;
  #pairs = 0;
  #drawnAt = 0;
  #saidAt = 0;

  readonly update = ({ stage, done, total, pairs }: StageProgress): void => {
    const at = performance.now();
    if (stage !== this.#stage)
      [this.#stage, this.#began, this.#first, this.#pairs, this.#saidAt] = [stage, at, done, 0, at];
    this.#pairs += pairs ?? 0;
    if (at - this.#drawnAt < REDRAW && done < total) return;
    this.#drawnAt = at;
    const seconds = (at - this.#began) / 1000;
    const facts = [`${done}/${total} ${DOING[stage]}`];
    const made = done - this.#first;
    if (made > 0 && done < total) facts.push(`${formatSeconds((seconds / made) * (total - done))} left`);
    if (stage === "create" && this.#pairs > 0) {
      facts.push(
        `${formatNumber(this.#pairs)} pairs`,
        `${formatNumber(Math.round((60 * this.#pairs) / seconds))} pairs/min`,
      );
    }
    if (process.stderr.isTTY)
      this.#status(barLine(facts, done / Math.max(1, total), (process.stderr.columns || 80) - 1));
    else if (at - this.#saidAt >= REPEAT) {
      this.#saidAt = at;
      console.error(facts.join("  "));
    }
  };

  /** Removes the bar. */
  end(): void {
    this.#status(null);
    this.#stage = null;
  }
}
