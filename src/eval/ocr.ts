/** How texts are compared, beside jiwer's defaults. */
export interface OcrOptions {
  /** capital letters count as small ones */
  ignore_case?: boolean;
  /** punctuation marks (Unicode's categories P) are left out, as by jiwer's RemovePunctuation */
  ignore_punctuation?: boolean;
}

/** A text that was read, and the truth. Names follow Unsloth's OCR evaluation. */
export interface OcrRecord {
  /** number of the row in its file */
  sample: number;
  wer: number;
  cer: number;
  ground_truth: string;
  generated_text: string;
  /** the text beside the image */
  question: string;
  finish_reason: "stop" | "length";
}

/** The summary of an OCR evaluation. */
export interface OcrResults {
  /** name of the model in tables */
  model_type: string;
  dataset: string;
  samples: number;
  /** means over samples, as Unsloth's avg_metrics */
  avg_wer: number;
  avg_cer: number;
  /** errors of all samples by words or characters of all truths, as jiwer's measure of lists */
  wer: number;
  cer: number;
  /** share of samples without an error */
  exact: number;
  ignore_case: boolean;
  ignore_punctuation: boolean;
  max_new_tokens: number;
  temperature: number;
  seed: number;
  model_name_or_path: string;
  adapter_name_or_path: string | null;
  qwench_version: string;
}

/** What Python's `str.isspace` means, which jiwer strips and joins. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const ENDS = new RegExp(`^${SPACE}+|${SPACE}+$`, "g");
const MULTIPLE = new RegExp(`${SPACE}{2,}`, "g");

function prepared(text: string, { ignore_case = false, ignore_punctuation = false }: OcrOptions): string {
  const cased = ignore_case ? text.toLowerCase() : text;
  return ignore_punctuation ? cased.replace(/\p{P}/gu, "") : cased;
}

/** Words as jiwer's default transforms make them: multiple spaces joined, ends stripped, split at spaces. */
export function wordsOf(text: string, options: OcrOptions = {}): string[] {
  const joined = prepared(text, options).replace(MULTIPLE, " ").replace(ENDS, "");
  return joined.split(" ").filter((word) => word !== "");
}

/** Characters (code points) as jiwer's default transforms make them: ends stripped. */
export function charactersOf(text: string, options: OcrOptions = {}): string[] {
  return [...prepared(text, options).replace(ENDS, "")];
}

/** Substitutions, deletions and insertions that turn one list into the other: the least number (Levenshtein). */
export function editDistance(from: readonly string[], to: readonly string[]): number {
  let before = Uint32Array.from({ length: to.length + 1 }, (_, j) => j);
  let now = new Uint32Array(to.length + 1);
  for (let i = 0; i < from.length; i++) {
    now[0] = i + 1;
    for (let j = 0; j < to.length; j++) {
      const other = from[i] === to[j] ? before[j] : before[j] + 1;
      now[j + 1] = Math.min(other, before[j + 1] + 1, now[j] + 1);
    }
    [before, now] = [now, before];
  }
  return before[to.length];
}

/** Errors, and the length of the truth that they are divided by. */
interface Errors {
  errors: number;
  length: number;
}

/** Errors by the truth's length, or of an empty truth their number, as in jiwer 4. */
export function rate({ errors, length }: Errors): number {
  return errors / Math.max(1, length);
}

/** Word errors of a text. @see jiwer.wer */
export function wordErrors(truth: string, text: string, options: OcrOptions = {}): Errors {
  const [want, got] = [wordsOf(truth, options), wordsOf(text, options)];
  return { errors: editDistance(want, got), length: want.length };
}

/** Character errors of a text. @see jiwer.cer */
export function characterErrors(truth: string, text: string, options: OcrOptions = {}): Errors {
  const [want, got] = [charactersOf(truth, options), charactersOf(text, options)];
  return { errors: editDistance(want, got), length: want.length };
}

/** The scores of records: means of their rates, and rates over all. */
export function ocrScores(
  records: readonly Pick<OcrRecord, "ground_truth" | "generated_text">[],
  options: OcrOptions = {},
): Pick<OcrResults, "samples" | "avg_wer" | "avg_cer" | "wer" | "cer" | "exact"> {
  const of = (measure: typeof wordErrors) =>
    records.map(({ ground_truth, generated_text }) => measure(ground_truth, generated_text, options));
  const [words, characters] = [of(wordErrors), of(characterErrors)];
  const mean = (all: readonly Errors[]) => all.reduce((sum, one) => sum + rate(one), 0) / Math.max(1, all.length);
  const whole = (all: readonly Errors[]) =>
    rate({
      errors: all.reduce((sum, { errors }) => sum + errors, 0),
      length: all.reduce((sum, { length }) => sum + length, 0),
    });
  return {
    samples: records.length,
    avg_wer: mean(words),
    avg_cer: mean(characters),
    wer: whole(words),
    cer: whole(characters),
    exact: characters.filter(({ errors }) => errors === 0).length / Math.max(1, records.length),
  };
}

/** A table as CSV (RFC 4180). */
function csv(rows: readonly (readonly (string | number)[])[]): string {
  const cell = (value: string | number) =>
    /[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** Unsloth's `detailed_results.csv`: a line for each sample. */
export function detailedCsv(records: readonly OcrRecord[]): string {
  const names = ["sample", "wer", "cer", "ground_truth", "generated_text", "question"] as const;
  return csv([names, ...records.map((record) => names.map((name) => record[name]))]);
}

/** Unsloth's `avg_metrics.csv`. */
export function averagesCsv({
  avg_wer,
  avg_cer,
  samples,
}: Pick<OcrResults, "avg_wer" | "avg_cer" | "samples">): string {
  return csv([
    ["metric", "value"],
    ["avg_wer", avg_wer],
    ["avg_cer", avg_cer],
    ["num_samples", samples],
  ]);
}
