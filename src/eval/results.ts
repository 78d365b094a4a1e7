import type { CodeOutcome } from "../rewards/code/outcome.ts";

/**
 * A problem of an evaluation with a model's results. Names follow Unsloth's AIME evaluation (unslothai/unsloth,
 * tests/utils/aime_eval.py); names that Unsloth does not have are marked.
 */
export interface EvalRecord {
  global_id: number;
  original_id: string;
  source_dataset: string;
  problem: string;
  /** the expected answer; null if tests decide */
  ground_truth: string | null;
  /** texts without special tokens, one per completion */
  responses: string[];
  /** null if no answer was found */
  extracted_answers: (string | null)[];
  correct_responses: boolean[];
  /** whether at least one completion is correct */
  is_correct: boolean;
  n_correct: number;
  n_total: number;
  /** tokens of the prompt */
  input_tokens: number;
  /** tokens of all responses together */
  output_tokens: number;
  /** of each response (not Unsloth's) */
  completion_tokens: number[];
  /** of each response (not Unsloth's) */
  finish_reasons: ("stop" | "length")[];
  /** the answer that most responses agree on, the first in a tie; null if no response has an answer (not Unsloth's) */
  majority_answer: string | null;
  /** false if tests decide (not Unsloth's) */
  majority_correct: boolean;
  /** each program's outcome, if tests decide; a response without a program counts as a syntax error (not Unsloth's) */
  outcomes?: CodeOutcome[];
  /** number of tests that each program passed, and number of tests (not Unsloth's) */
  passed_tests?: number[];
  n_tests?: number;
  /** level or difficulty, if the data set has one (not Unsloth's) */
  difficulty?: string;
  solution?: string;
  url?: string;
}

/** Counts of problems, as Unsloth's `source_stats`: `correct` counts problems that at least one completion solved. */
export interface ShareOfProblems {
  total: number;
  correct: number;
}

/** The summary of an evaluation. Shares are percentages, as in Unsloth's file. */
export interface EvalResults {
  /** the model's name in tables: `base`, `checkpoint-200` */
  model_type: string;
  dataset: string;
  total_problems: number;
  /** number of problems that at least one completion solved */
  correct_answers: number;
  /** percentage of problems that at least one completion solved */
  accuracy: number;
  /** the same value, which Unsloth calls pass@n */
  pass_at_k: number;
  /** unbiased estimates by k: {"1": 37.5, "5": 80.1} (not Unsloth's) */
  pass_at: Record<string, number>;
  /** percentage of problems whose majority answer is correct; null if tests decide (not Unsloth's) */
  majority_accuracy: number | null;
  source_stats: Record<string, ShareOfProblems>;
  /** percent */
  source_accuracies: Record<string, number>;
  /** mean percentage of correct completions by level; empty if the data set has no levels (not Unsloth's) */
  difficulty_accuracies: Record<string, number>;
  /** programs by outcome, if tests decide (not Unsloth's) */
  outcomes?: Record<string, number>;
  temperature: number;
  n_sampling: number;
  max_tokens: number;
  top_p: number;
  /** 0: off (not Unsloth's) */
  top_k: number;
  seed: number;
  /** tokens of the prompts */
  avg_input_tokens: number;
  max_input_tokens: number;
  /** tokens of a problem's responses together, as in Unsloth's file */
  avg_output_tokens: number;
  max_output_tokens: number;
  /** tokens per response (not Unsloth's) */
  avg_completion_tokens: number;
  /** percentage of responses that ended with an EOS token or a stop string (not Unsloth's) */
  ended: number;
  /** names of the model and adapter, and the version of qwench (not Unsloth's) */
  model_name_or_path: string;
  adapter_name_or_path: string | null;
  qwench_version: string;
}

/** The file that `qwench eval` writes and `qwench compare` reads. Records are keyed by global_id. */
export interface EvalFile {
  results: EvalResults;
  records: Record<string, EvalRecord>;
}
