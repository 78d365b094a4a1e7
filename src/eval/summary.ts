import { ShapeError } from "../errors.ts";
import type { EvalRecord, EvalResults, ShareOfProblems } from "./results.ts";
import { passAtK } from "./solve.ts";

/** Fields of an evaluation's results that do not follow from its records. */
export type EvalSettings = Pick<
  EvalResults,
  | "model_type"
  | "dataset"
  | "temperature"
  | "n_sampling"
  | "max_tokens"
  | "top_p"
  | "top_k"
  | "seed"
  | "model_name_or_path"
  | "adapter_name_or_path"
  | "qwench_version"
>;

/** Summarises all records. @param ks the k of each pass@k to compute, each at most every record's `n_total` */
export function resultsOf(records: readonly EvalRecord[], settings: EvalSettings, ks: readonly number[]): EvalResults {
  if (records.length === 0) throw new ShapeError("Cannot summarise an evaluation without problems");
  const { model_type, dataset, temperature, n_sampling, max_tokens, top_p, top_k, seed, ...named } = settings;
  const solved = records.filter(({ is_correct }) => is_correct).length;
  const accuracy = percent(solved, records.length);
  const sources = groups(records, ({ source_dataset }) => source_dataset);
  const levels = groups(records, ({ difficulty }) => difficulty);
  const source_stats = mapped(sources, (own): ShareOfProblems => {
    return { total: own.length, correct: own.filter(({ is_correct }) => is_correct).length };
  });
  const tokens = records.flatMap(({ completion_tokens }) => completion_tokens);
  const reasons = records.flatMap(({ finish_reasons }) => finish_reasons);
  const outcomes = records.flatMap((record) => record.outcomes ?? []);
  const answered = records.some(({ ground_truth }) => ground_truth !== null);
  const agreed = records.filter(({ majority_correct }) => majority_correct).length;
  return {
    model_type,
    dataset,
    total_problems: records.length,
    correct_answers: solved,
    accuracy,
    pass_at_k: accuracy,
    pass_at: Object.fromEntries(ks.map((k) => [k, passAt(records, k)])),
    majority_accuracy: answered ? percent(agreed, records.length) : null,
    source_stats,
    source_accuracies: mapped(sources, (_, name) => percent(source_stats[name].correct, source_stats[name].total)),
    difficulty_accuracies: mapped(levels, (own) => passAt(own, 1)),
    ...(outcomes.length > 0 && { outcomes: counts(outcomes) }),
    temperature,
    n_sampling,
    max_tokens,
    top_p,
    top_k,
    seed,
    avg_input_tokens: mean(records.map(({ input_tokens }) => input_tokens)),
    max_input_tokens: most(records.map(({ input_tokens }) => input_tokens)),
    avg_output_tokens: mean(records.map(({ output_tokens }) => output_tokens)),
    max_output_tokens: most(records.map(({ output_tokens }) => output_tokens)),
    avg_completion_tokens: mean(tokens),
    ended: percent(reasons.filter((reason) => reason === "stop").length, reasons.length),
    ...named,
  };
}

/** Unbiased pass@k over problems, in percent. With k = 1 this is the mean share of correct responses. */
export function passAt(records: readonly Pick<EvalRecord, "n_total" | "n_correct">[], k: number): number {
  return mean(records.map(({ n_total, n_correct }) => 100 * passAtK(n_total, n_correct, k)));
}

/** Groups records by a name, sorted numerically and alphabetically. Leaves out records without the name. */
export function groups(
  records: readonly EvalRecord[],
  nameOf: (record: EvalRecord) => string | undefined,
): Map<string, EvalRecord[]> {
  const found = new Map<string, EvalRecord[]>();
  for (const record of records) {
    const name = nameOf(record);
    if (name === undefined) continue;
    const own = found.get(name);
    if (own) own.push(record);
    else found.set(name, [record]);
  }
  const inOrder = (a: string, b: string) => a.localeCompare(b, "en", { numeric: true });
  return new Map([...found].sort(([a], [b]) => inOrder(a, b)));
}

function mapped<T>(found: Map<string, EvalRecord[]>, value: (own: EvalRecord[], name: string) => T): Record<string, T> {
  return Object.fromEntries([...found].map(([name, own]) => [name, value(own, name)]));
}

function counts(names: readonly string[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const name of names) found[name] = (found[name] ?? 0) + 1;
  return found;
}

function mean(values: readonly number[]): number {
  return rounded(values.reduce((sum, value) => sum + value, 0) / values.length);
}

const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0);
const percent = (part: number, whole: number) => rounded((100 * part) / whole);
/** Rounds away binary rounding errors, so that equal records give equal files. */
const rounded = (value: number) => Number(value.toFixed(6));
