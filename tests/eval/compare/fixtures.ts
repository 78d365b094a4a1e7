import type { CodeOutcome } from "../../../src/rewards/code/outcome.ts";

/** What one file says of one problem: right completions of how many; or nothing but an error. */
export type Told = readonly [n_correct: number, n_total: number] | "error";

export interface FileOptions {
  dataset?: string;
  adapter?: string | null;
  model?: string;
  /** of each problem; default a text with its number */
  texts?: readonly string[];
  sources?: readonly string[];
  ids?: readonly string[];
  outcomes?: readonly (readonly CodeOutcome[])[];
  results?: Record<string, unknown>;
  /** as Unsloth writes it: without what Qwench adds */
  unsloth?: boolean;
}

/** The text of an evaluation's file. */
export function evaluationText(model_type: string, told: readonly Told[], options: FileOptions = {}): string {
  const { dataset = "gsm8k", adapter = null, model = "models/base", unsloth = false } = options;
  const records = told.map((each, i) => {
    const problem = options.texts?.[i] ?? `Problem ${i}: how much is ${i} + ${i}?\nTell the number.`;
    const head = {
      global_id: i,
      original_id: options.ids?.[i] ?? String(i),
      source_dataset: options.sources?.[i] ?? dataset,
      problem,
      ground_truth: options.outcomes ? null : String(2 * i),
    };
    if (each === "error") return { ...head, error: "the engine died", is_correct: false };
    const [n_correct, n_total] = each;
    const right = Array.from({ length: n_total }, (_, c) => c < n_correct);
    return {
      ...head,
      responses: right.map((ok) => (ok ? `It is ${2 * i}.` : "It is -1.")),
      extracted_answers: right.map((ok) => (ok ? String(2 * i) : "-1")),
      correct_responses: right,
      is_correct: n_correct > 0,
      input_tokens: 20,
      output_tokens: 10 * n_total,
      n_correct,
      n_total,
      solution: "",
      url: "",
      ...(!unsloth && {
        completion_tokens: right.map(() => 10),
        finish_reasons: right.map(() => "stop"),
        majority_answer: n_correct * 2 > n_total ? String(2 * i) : "-1",
        majority_correct: n_correct * 2 > n_total,
        ...(options.outcomes && { outcomes: options.outcomes[i] }),
      }),
    };
  });
  const results = {
    model_type,
    dataset,
    total_problems: told.length,
    temperature: 0.3,
    n_sampling: 8,
    max_tokens: 512,
    top_p: 0.95,
    seed: 0,
    ...(!unsloth && {
      pass_at: { "1": 0 },
      top_k: 0,
      model_name_or_path: model,
      adapter_name_or_path: adapter,
      qwench_version: "0.1.0",
    }),
    ...options.results,
  };
  return JSON.stringify({ results, records: Object.fromEntries(records.map((record, i) => [i, record])) });
}
