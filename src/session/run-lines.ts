import type { Method } from "../recipe/recipe.ts";
import type { CompletionRecord } from "../train/grpo/rollout.ts";
import type { LogRecord } from "../train/metrics.ts";
import { readCompletions } from "./completions-log.ts";
import { metricsFile, readTimedMetrics } from "./run-log.ts";

// For those who only show a run: a line that cannot be read is left out.

/** The logs of some complete lines of metrics.jsonl, each with `elapsed` where its line has it. `bad`: lines that are no logs. */
export function shownLogs(lines: readonly string[]): { logs: LogRecord[]; bad: number } {
  const logs: LogRecord[] = [];
  let bad = 0;
  for (const line of lines) {
    if (line.trim() === "") continue;
    try {
      for (const { record, elapsed } of readTimedMetrics(`${line}\n`, metricsFile)) {
        logs.push({ ...(record as LogRecord), ...(elapsed !== null && { elapsed }) });
      }
    } catch {
      bad++;
    }
  }
  return { logs, bad };
}

/** The completions of a file. An interrupted last line is left out. @param name in errors, which nobody sees */
export function shownCompletions(text: string, name: string): CompletionRecord[] {
  return text
    .split("\n")
    .slice(0, -1)
    .flatMap((line) => {
      try {
        return readCompletions(`${line}\n`, name) as CompletionRecord[];
      } catch {
        return [];
      }
    });
}

/** The method of a run without run.json, by the names of its metrics. */
export function guessedMethod(logs: readonly LogRecord[]): Method {
  if (logs.some((log) => "rewards/margins" in log)) return "dpo";
  return logs.some((log) => "reward" in log) ? "grpo" : "sft";
}
