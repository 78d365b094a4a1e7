import { FormatError } from "../../errors.ts";
import type { CodeOutcome } from "../../rewards/code/outcome.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { isObject } from "../../text/json.ts";
import { kindOf } from "../../text/show.ts";
import type { Placed } from "./names.ts";

/** One evaluation's result on one problem. */
export interface Judged {
  /** the record's key in its file */
  key: string;
  original_id: string;
  source_dataset: string;
  problem: string;
  difficulty: string | null;
  /** at least one completion is correct */
  solved: boolean;
  n_correct: number;
  /** 0 if the evaluation failed on this problem */
  n_total: number;
  /** whether the majority answer is correct; null if tests decide, or the file does not say */
  majority: boolean | null;
  /** tokens of all completions together; null if the file does not say */
  output_tokens: number | null;
  outcomes: readonly CodeOutcome[] | null;
}

/** Settings that comparable evaluations should share. The seed may differ. */
export const SAMPLING = ["n_sampling", "temperature", "top_p", "top_k", "max_tokens"] as const;

/** The part of an evaluation's file that a comparison needs. The file is from `qwench eval` or Unsloth's AIME evaluation. */
export interface Evaluation extends Placed {
  settings: Partial<Record<(typeof SAMPLING)[number], number>>;
  /** the k of its pass@k */
  ks: number[];
  problems: Judged[];
  /** the checkpoint's loss on held-out rows, which is not in the file */
  eval_loss: number | null;
}

type Json = Record<string, unknown>;

/**
 * Reads an evaluation: `{results, records}` as in src/eval/results.ts, or as Unsloth's tests/utils/aime_eval.py writes them. A
 * record that holds only `error` counts as not solved.
 *
 * @param file its name in errors
 * @throws {FormatError} the text is not JSON, or not an evaluation; the message says what is missing
 */
export function readEvaluation(text: string, file: string): Evaluation {
  const wrong = (what: string) => new FormatError(`Cannot compare ${file}: ${what}`);
  let whole: unknown;
  try {
    whole = parseBoundedJson(text, { values: 100_000_000 }) as typeof whole;
  } catch (error) {
    throw wrong(`it is not JSON (${(error as Error).message})`);
  }
  const form = "an evaluation written by qwench eval has results and records";
  if (!isObject(whole)) throw wrong(`${form}; this is ${kindOf(whole)}`);
  for (const part of ["results", "records"]) {
    if (!(part in whole)) throw wrong(`${form}; ${part} is missing`);
    if (!isObject(whole[part])) throw wrong(`${form}; its ${part} must be an object, not ${kindOf(whole[part])}`);
  }
  const results = whole.results as Json;
  for (const name of ["model_type", "dataset"]) {
    if (!isText(results[name])) throw wrong(`results.${name} must be a name, not ${kindOf(results[name])}`);
  }
  const entries = Object.entries(whole.records as Json);
  if (entries.length === 0) throw wrong("its records are empty");
  const problems = entries.map(([key, record]) => {
    if (!isObject(record)) throw wrong(`record ${key} must be an object, not ${kindOf(record)}`);
    return judgedOf(key, record, (what) => wrong(`record ${key}: ${what}`));
  });
  const settings: Evaluation["settings"] = {};
  for (const name of SAMPLING) if (typeof results[name] === "number") settings[name] = results[name];
  return {
    file,
    model_type: results.model_type as string,
    dataset: results.dataset as string,
    model: isText(results.model_name_or_path) ? results.model_name_or_path : null,
    adapter: isText(results.adapter_name_or_path) ? results.adapter_name_or_path : null,
    settings,
    ks: isObject(results.pass_at) ? Object.keys(results.pass_at).map(Number).filter(Number.isSafeInteger) : [],
    problems,
    eval_loss: null,
  };
}

function judgedOf(key: string, record: Json, wrong: (what: string) => Error): Judged {
  if (!isText(record.problem)) throw wrong(`problem must be text, not ${kindOf(record.problem)}`);
  if (typeof record.is_correct !== "boolean") {
    throw wrong(`is_correct must be true or false, not ${kindOf(record.is_correct)}`);
  }
  const failed = "error" in record && !("n_total" in record);
  const count = (name: string) => {
    const value = record[name];
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw wrong(`${name} must be a count, not ${kindOf(value)}`);
  };
  const [n_correct, n_total] = failed ? [0, 0] : [count("n_correct"), count("n_total")];
  if (n_correct > n_total || record.is_correct !== n_correct > 0) {
    throw wrong(`is_correct ${record.is_correct} contradicts ${n_correct} of ${n_total} correct`);
  }
  return {
    key,
    original_id: isText(record.original_id) || Number.isFinite(record.original_id) ? String(record.original_id) : key,
    source_dataset: isText(record.source_dataset) ? record.source_dataset : "",
    problem: record.problem,
    difficulty: isText(record.difficulty) ? record.difficulty : null,
    solved: record.is_correct,
    n_correct,
    n_total,
    majority: majorityOf(record),
    output_tokens: !failed && Number.isFinite(record.output_tokens) ? (record.output_tokens as number) : null,
    outcomes: Array.isArray(record.outcomes) ? (record.outcomes as CodeOutcome[]) : null,
  };
}

/** A majority vote for Unsloth's files, which hold none: by equal texts; among equally frequent texts, the first wins. */
function majorityOf(record: Json): boolean | null {
  if (Array.isArray(record.outcomes) || record.ground_truth === null) return null;
  if (typeof record.majority_correct === "boolean") return record.majority_correct;
  const { extracted_answers: answers, correct_responses: right } = record;
  if (!Array.isArray(answers) || !Array.isArray(right)) return null;
  const votes = new Map<unknown, number>();
  for (const answer of answers) if (isText(answer)) votes.set(answer, (votes.get(answer) ?? 0) + 1);
  if (votes.size === 0) return false;
  const [most] = [...votes].reduce((a, b) => (b[1] > a[1] ? b : a));
  return right[answers.indexOf(most)] === true;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}
