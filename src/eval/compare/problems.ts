import { QwenchError } from "../../errors.ts";
import { cut } from "../../text/show.ts";
import type { Evaluation, Judged } from "./file.ts";

/** A problem that all evaluations share. */
export interface SharedProblem {
  /** original_id, with its source_dataset if there are several sources */
  id: string;
  source: string;
  /** the line that identifies it, cut to fit a table */
  line: string;
  difficulty: string | null;
  /** one per evaluation */
  judged: Judged[];
}

const LONGEST_LINE = 160;

/**
 * The problems that all evaluations share, in the order of the first evaluation. Problems are matched by text, because tools
 * number them differently. If a file holds the same text twice, original_id decides.
 *
 * @param names the evaluations' names, for the error
 * @throws {QwenchError} the evaluations share no problem
 */
export function sharedProblems(evaluations: readonly Evaluation[], names: readonly string[]): SharedProblem[] {
  const repeated = new Set<string>();
  for (const { problems } of evaluations) {
    const seen = new Set<string>();
    for (const { problem } of problems) {
      const text = normalised(problem);
      if (seen.has(text)) repeated.add(text);
      seen.add(text);
    }
  }
  const keyOf = ({ problem, source_dataset, original_id }: Judged) => {
    const text = normalised(problem);
    return repeated.has(text) ? JSON.stringify([text, source_dataset, original_id]) : text;
  };
  const byKey = evaluations.map(({ problems }) => new Map(problems.map((judged) => [keyOf(judged), judged])));
  const [first, ...others] = byKey;
  const shared = [...first].filter(([key]) => others.every((other) => other.has(key)));
  if (shared.length === 0) {
    const counts = evaluations.map(({ file, problems }, i) => `${names[i]} (${file}) ${problems.length}`);
    throw new QwenchError(
      `Cannot compare evaluations that have no problem in common: of ${evaluations[0].dataset}, ${counts.join(", ")} problems`,
    );
  }
  const several = new Set(shared.map(([, { source_dataset }]) => source_dataset)).size > 1;
  const ids = shared.map(([, { source_dataset, original_id }]) =>
    several ? `${source_dataset}/${original_id}` : original_id,
  );
  const clear = new Set(ids).size === ids.length;
  return shared.map(([key, judged], i) => ({
    id: clear ? ids[i] : judged.key,
    source: judged.source_dataset,
    line: tellingLine(judged.problem),
    difficulty: judged.difficulty,
    judged: byKey.map((problems) => problems.get(key)!),
  }));
}

/** The first line, or in a Python stub the line of the function to write, because imports and helpers come first. */
export function tellingLine(problem: string): string {
  const lines = problem.split("\n").filter((line) => line.trim() !== "");
  const code = /^(from|import|def|class|@|#)\b/.test(lines[0] ?? "");
  const line = ((code && lines.findLast((each) => each.startsWith("def "))) || lines[0] || "").trim();
  return cut(line, LONGEST_LINE);
}

function normalised(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}
