import type { CodeOutcome } from "../rewards/code/outcome.ts";

/**
 * A problem of an evaluation and what a model made of it. Names are those of Unsloth's AIME evaluation
 * (unslothai/unsloth, tests/utils/aime_eval.py); those that it has not are marked.
 */
export interface EvalRecord {
  global_id: number;
  original_id: string;
  source_dataset: string;
  problem: string;
  /** the expected answer; null where tests decide */
  ground_truth: string | null;
  /** texts without special tokens, one a completion */
  responses: string[];
  /** null where no answer was found */
  extracted_answers: (string | null)[];
  correct_responses: boolean[];
  /** any of them */
  is_correct: boolean;
  n_correct: number;
  n_total: number;
  /** of the prompt */
  input_tokens: number;
  /** of all responses together */
  output_tokens: number;
  /** of each response (not Unsloth's) */
  completion_tokens: number[];
  /** of each response (not Unsloth's) */
  finish_reasons: ("stop" | "length")[];
  /** the answer that most responses agree on, the first of them where several do; null where none has an answer (not Unsloth's) */
  majority_answer: string | null;
  /** false where tests decide (not Unsloth's) */
  majority_correct: boolean;
  /** what came of each program, where tests decide; a response without one counts as a syntax error (not Unsloth's) */
  outcomes?: CodeOutcome[];
  /** tests that each program passed, and how many there are (not Unsloth's) */
  passed_tests?: number[];
  n_tests?: number;
  /** the data set's level or difficulty, where it has one (not Unsloth's) */
  difficulty?: string;
  solution?: string;
  url?: string;
}

/** Counts of problems, as Unsloth's `source_stats`: correct are those that any completion solved. */
export interface ShareOfProblems {
  total: number;
  correct: number;
}

/** What an evaluation comes to. Shares are percent, as in Unsloth's file. */
export interface EvalResults {
  /** how the model is called in tables: `base`, `checkpoint-200` */
  model_type: string;
  dataset: string;
  total_problems: number;
  /** problems that any completion solved */
  correct_answers: number;
  /** percent of problems that any completion solved */
  accuracy: number;
  /** the same: Unsloth's pass@n */
  pass_at_k: number;
  /** unbiased estimates by k: {"1": 37.5, "5": 80.1} (not Unsloth's) */
  pass_at: Record<string, number>;
  /** percent of problems whose majority answer is right; null where tests decide (not Unsloth's) */
  majority_accuracy: number | null;
  source_stats: Record<string, ShareOfProblems>;
  /** percent */
  source_accuracies: Record<string, number>;
  /** mean share of right completions by level, percent; empty where the data set has none (not Unsloth's) */
  difficulty_accuracies: Record<string, number>;
  /** programs by outcome, where tests decide (not Unsloth's) */
  outcomes?: Record<string, number>;
  temperature: number;
  n_sampling: number;
  max_tokens: number;
  top_p: number;
  /** 0 is off (not Unsloth's) */
  top_k: number;
  seed: number;
  /** of prompts */
  avg_input_tokens: number;
  max_input_tokens: number;
  /** of a problem's responses together, as in Unsloth's */
  avg_output_tokens: number;
  max_output_tokens: number;
  /** tokens of one response (not Unsloth's) */
  avg_completion_tokens: number;
  /** percent of responses that ended by themselves (not Unsloth's) */
  ended: number;
  /** model and adapter as they were named, and what qwench wrote the file (not Unsloth's) */
  model_name_or_path: string;
  adapter_name_or_path: string | null;
  qwench_version: string;
}

/** The file that `qwench eval` writes and `qwench compare` reads. Records by their global_id. */
export interface EvalFile {
  results: EvalResults;
  records: Record<string, EvalRecord>;
}
