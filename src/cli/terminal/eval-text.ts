import type { EvalRecord, EvalResults } from "../../eval/results.ts";
import { counted, formatNumber, formatPercent, formatShare } from "../../text/numbers.ts";
import { renderTable } from "../../text/tables.ts";
import { ResponsesProgress } from "./responses-progress.ts";

/**
 * The progress of an evaluation on stderr: finished responses, time left, rate, graded problems and correct responses so far.
 */
export class EvalProgress extends ResponsesProgress {
  readonly #count: { graded: number; right: number };

  constructor(problems: number, n: number, status: (line: string | null) => void) {
    const count = { graded: 0, right: 0 };
    const more = () => [
      ...(this.whole ? [`${count.graded}/${problems} problems graded`] : []),
      ...(count.graded > 0 ? [`${formatShare(count.right / (count.graded * n), 1)} right`] : []),
    ];
    super({ total: problems * n, status, more });
    this.#count = count;
  }

  /** Counts a problem whose responses have been graded. */
  graded({ n_correct }: EvalRecord): void {
    this.#count.graded++;
    this.#count.right += n_correct;
    this.draw();
  }
}

/** An evaluation's results as tables. */
export function resultsTable(results: EvalResults, width?: number): string {
  const right = { align: "right" as const };
  const { total_problems: problems, n_sampling: n, majority_accuracy } = results;
  const numbers: [string, string][] = [
    ...Object.entries(results.pass_at).map(([k, share]): [string, string] => [`pass@${k}`, formatPercent(share)]),
    ...(n > 1 && !(n in results.pass_at) ? [["any correct", formatPercent(results.accuracy)] as [string, string]] : []),
    ...(n > 1 && majority_accuracy !== null
      ? [["majority", formatPercent(majority_accuracy)] as [string, string]]
      : []),
    ["tokens per response", formatNumber(results.avg_completion_tokens)],
    ["ended before the limit", formatPercent(results.ended)],
  ];
  const title = `${results.dataset}: ${counted(problems, "problem")}, ${counted(n, "response")} each at temperature ${results.temperature}`;
  const tables = [
    `${title}\n`,
    renderTable([{ heading: results.model_type }, { heading: "", ...right }], numbers, width),
  ];
  const sources = Object.entries(results.source_stats);
  if (sources.length > 1) {
    const rows = sources.map(([name, { total }]) => [name, total, formatPercent(results.source_accuracies[name])]);
    const columns = [{ heading: "source" }, { heading: "problems", ...right }, { heading: "any correct", ...right }];
    tables.push(renderTable(columns, rows, width));
  }
  const levels = Object.entries(results.difficulty_accuracies);
  if (levels.length > 0) {
    const rows = levels.map(([name, share]) => [name, formatPercent(share)]);
    tables.push(renderTable([{ heading: "difficulty" }, { heading: "pass@1", ...right }], rows, width));
  }
  if (results.outcomes) {
    const rows = Object.entries(results.outcomes).map(([name, count]) => [name.replaceAll("_", " "), count]);
    tables.push(renderTable([{ heading: "programs" }, { heading: "", ...right }], rows, width));
  }
  return tables.join("\n").trimEnd();
}
