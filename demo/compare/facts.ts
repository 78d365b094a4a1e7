import type { Evaluation, Method, RunRecord } from "../../src/client/types.ts";
import { inOrder } from "../../src/report/names.ts";
import type { LogRecord } from "../../src/report/text.ts";

// What a comparison of runs works out, without a document.

/** The methods that any of the runs has, in the order of training. */
export function methodsOf(runs: readonly Pick<RunRecord, "phases">[]): Method[] {
  const order: Method[] = ["sft", "dpo", "grpo"];
  return order.filter((method) => runs.some(({ phases }) => phases.some((phase) => phase.method === method)));
}

/** A run's logs of one method. Steps count from the method's own first; a second phase of the method follows the first. */
export function logsOfMethod({ phases, logs }: Pick<RunRecord, "phases" | "logs">, method: Method): LogRecord[] {
  let before = 0;
  return phases.flatMap((phase, i) => {
    if (phase.method !== method) return [];
    const start = before;
    before += phase.global_step;
    return (logs[i] ?? []).map((log) => ({ ...log, step: start + log.step }));
  });
}

/** A field whose value differs between runs: one text per run, — for a run without it. */
interface Difference {
  name: string;
  values: string[];
}

/** Settings of one run by name. */
export type Settings = Readonly<Record<string, unknown>>;

/** The fields that are not the same in all runs that have them. @param settings one per run */
export function differences(settings: readonly Settings[]): Difference[] {
  const names = [...new Set(settings.flatMap((one) => Object.keys(one)))];
  return names.flatMap((name) => {
    const values = settings.map((one) => (name in one ? text(one[name]) : "—"));
    const own = settings.flatMap((one, i) => (name in one ? [values[i]] : []));
    return new Set(own).size > 1 ? [{ name, values }] : [];
  });
}

/** The top-level fields of a recipe's YAML as they are written, by method and name. */
export function writtenSettings(method: Method, yaml: string): Settings {
  const fields = [...yaml.matchAll(/^([a-z]\w*):[ \t]*(.*(?:\n[ \t-].*)*)/gim)];
  return Object.fromEntries(
    fields.map(([, name, value]) => [
      `${method} ${name}`,
      value
        .replace(/\s+#.*$/gm, "")
        .replace(/\s+/g, " ")
        .trim(),
    ]),
  );
}

function text(value: unknown): string {
  if (Array.isArray(value)) return value.map(text).join(", ");
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/** A held-out problem that all compared runs have solved or tried. */
export interface SharedProblem {
  question: string;
  gold: string;
  /** one per run */
  answers: { completion: string; correct: boolean }[];
}

/** The problems of all runs' last evaluations, matched by their text, in the order of the first run. */
export function sharedProblems(runs: readonly Pick<RunRecord, "evaluations">[]): SharedProblem[] {
  const last = runs.map(({ evaluations }) => inOrder(evaluations).at(-1));
  if (last.length === 0 || last.some((one) => one === undefined)) return [];
  const byQuestion = (last as Evaluation[]).map(
    ({ problems }) => new Map(problems.map((problem) => [problem.question, problem])),
  );
  return [...byQuestion[0]].flatMap(([question, { gold }]) => {
    const answers = byQuestion.map((problems) => problems.get(question));
    return answers.every((answer) => answer !== undefined)
      ? [{ question, gold, answers: answers.map(({ completion, correct }) => ({ completion, correct })) }]
      : [];
  });
}
