import { type DetectedRows, detectRows } from "../../data/columns.ts";
import { tokenizePreference } from "../../data/preferences.ts";
import { encodePrompt } from "../../data/prompts.ts";
import { type NumberedRow, rowError } from "../../data/rows.ts";
import { type TokenizeOptions, tokenizeRow } from "../../data/tokenize.ts";
import type { Tokenizer } from "../../data/tokenizer.ts";
import { QwenchError } from "../../errors.ts";
import type { Method } from "../../recipe/recipe.ts";

/** A part of a row as the model reads it. */
export interface RowPart {
  text: string;
  /** prompt: only read; target: learnt; rejected: DPO's worse answer; cut: beyond max_length */
  kind: "prompt" | "target" | "rejected" | "cut";
}

/** A row as the model sees it: with the chat template, in tokens. */
export interface SeenRow {
  /** from 1 */
  number: number;
  parts: RowPart[];
  /** before truncation */
  tokens: number;
  /** why the row cannot be used, or null */
  problem: string | null;
}

/** The rows of a data set as a run would see them. */
export interface SeenRows extends DetectedRows {
  rows: SeenRow[];
  /** rows that were counted; `all`: the data set ends with them */
  counted: number;
  all: boolean;
  /** tokens of the counted rows that can be used, ascending */
  lengths: number[];
  /** rows longer than max_length, rows without anything to learn, rows that cannot be read */
  cut: number;
  empty: number;
  bad: number;
}

/** How a method reads rows: fields of its recipe. */
interface SeeOptions extends Omit<TokenizeOptions, "tokenizer" | "max_length"> {
  method: Method;
  tokenizer: Tokenizer;
  /** tokens; null: no limit. GRPO: of a prompt */
  max_length: number | null;
  /** rows to show, and most rows to count */
  shown: number;
  most: number;
  /** milliseconds after which no more rows are counted */
  time: number;
  signal?: AbortSignal;
}

/** Rows by which the form is recognised. */
const LOOKED = 20;

/**
 * The first rows as a run would see them, and the lengths of as many as time allows.
 *
 * @throws {AbortError} the signal was aborted
 * @throws {DataError} a row cannot be parsed as data; a row without a known form is counted as bad
 */
export async function seeRows(rows: AsyncIterable<NumberedRow>, options: SeeOptions): Promise<SeenRows> {
  const first: NumberedRow[] = [];
  const seen: SeenRow[] = [];
  const lengths: number[] = [];
  let [counted, cut, empty, bad, all] = [0, 0, 0, 0, true];
  const end = performance.now() + options.time;
  for await (const source of rows) {
    options.signal?.throwIfAborted();
    if (counted >= options.most || performance.now() > end) {
      all = false;
      break;
    }
    counted++;
    if (first.length < LOOKED) first.push(source);
    const one = seeRow(source, options);
    if (seen.length < options.shown) seen.push(one);
    if (one.problem !== null) bad++;
    else {
      lengths.push(one.tokens);
      if (options.max_length !== null && one.tokens > options.max_length) cut++;
      if (options.method !== "grpo" && !one.parts.some(({ kind }) => kind === "target")) empty++;
    }
    if (counted % 64 === 0) await new Promise((next) => setTimeout(next)); // a page stays responsive
  }
  return { ...detectRows(first), rows: seen, counted, all, lengths: lengths.sort((a, b) => a - b), cut, empty, bad };
}

function seeRow(source: NumberedRow, options: SeeOptions): SeenRow {
  try {
    const ids = idsOf(source, options);
    return { number: source.number, ...partsOf(ids, options), problem: null };
  } catch (error) {
    if (!(error instanceof QwenchError)) throw error;
    return { number: source.number, parts: [], tokens: 0, problem: error.message };
  }
}

interface Labelled {
  ids: ArrayLike<number>;
  /** of each token */
  kinds: RowPart["kind"][];
  /** tokens that count towards max_length */
  length: number;
}

/** A row's tokens, each with what the method does with it. */
function idsOf(source: NumberedRow, { method, tokenizer, ...options }: SeeOptions): Labelled {
  if (method === "grpo") {
    const { prompt_ids: ids } = encodePrompt(source, { tokenizer, ...options });
    return { ids, kinds: Array.from(ids, () => "prompt"), length: ids.length };
  }
  if (method === "dpo") {
    const { pair } = tokenizePreference(source, { tokenizer, ...options, max_length: null });
    if (!pair) throw rowError(source, "has nothing to learn");
    const { chosen, rejected } = pair;
    const kinds = Array.from(chosen.input_ids, (_, i) => (i < chosen.prompt ? "prompt" : "target") as RowPart["kind"]);
    const worse: number[] = Array.from(rejected.input_ids).slice(rejected.prompt);
    return {
      ids: [...Array.from(chosen.input_ids), ...worse],
      kinds: [...kinds, ...worse.map(() => "rejected" as const)],
      length: Math.max(chosen.input_ids.length, rejected.input_ids.length),
    };
  }
  const { input_ids, labels } = tokenizeRow(source, { tokenizer, ...options, max_length: null });
  return {
    ids: input_ids,
    kinds: labels.map((label) => (label === -100 ? "prompt" : "target")),
    length: input_ids.length,
  };
}

/** Neighbouring tokens of a kind as one text. */
function partsOf(
  { ids, kinds, length }: Labelled,
  { tokenizer, max_length, truncation_mode, method }: SeeOptions,
): Pick<SeenRow, "parts" | "tokens"> {
  const over = max_length === null || method === "dpo" ? 0 : Math.max(0, length - max_length);
  const isCut = (i: number) => (truncation_mode === "keep_end" ? i < over : i >= length - over);
  const kindAt = (i: number): RowPart["kind"] => (over > 0 && isCut(i) ? "cut" : kinds[i]);
  const parts: RowPart[] = [];
  for (let from = 0; from < ids.length; ) {
    const kind = kindAt(from);
    let to = from + 1;
    while (to < ids.length && kindAt(to) === kind) to++;
    parts.push({ kind, text: tokenizer.decode(Array.from(ids).slice(from, to)) });
    from = to;
  }
  return { parts, tokens: length };
}
