import { DataError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { kindOf } from "../text/show.ts";
import { type ChatOptions, type Message, renderChat } from "./chat-template.ts";
import { cutImage, imageCounts, repeated } from "./images/tokens.ts";
import { parseMessages, withSystem } from "./messages.ts";
import { type Pacing, pacedRows, type RowSource } from "./paced-rows.ts";
import type { RowImage } from "./row-error.ts";
import { columnNotes, conversationNotes, NoteCounter, type RowNote } from "./row-notes.ts";
import { type ChatExtras, chatExtras, integers, type NumberedRow, requireCompletion, rowError } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A prompt with a better and a worse completion. Formats and field names are TRL's. */
type Preference =
  | { format: "plain"; prompt: string; chosen: string; rejected: string }
  | ({ format: "chat"; prompt: Message[]; chosen: Message[]; rejected: Message[] } & ChatExtras)
  | { format: "tokens"; prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[] };

/** A prompt and one of its completions, as the model reads them. */
export interface TokenizedCompletion {
  /** prompt and completion */
  input_ids: ArrayLike<number>;
  /** number of prompt tokens */
  prompt: number;
}

/** Tokens of one row: the prompt with the better and with the worse completion. */
export interface TokenizedPair {
  chosen: TokenizedCompletion;
  rejected: TokenizedCompletion;
  /** images of the prompt, which both completions see; absent: none */
  row_images?: readonly RowImage[];
}

/** How preferences become tokens; names and defaults are those of TRL's DPOConfig. */
export interface PreferenceOptions {
  /** null is enough for pre-tokenised rows */
  tokenizer: Tokenizer | null;
  /** replaces the tokenizer's own template */
  chat_template?: string | null;
  /** variables for the template; a row's own `chat_template_kwargs` take precedence */
  chat_template_kwargs?: Readonly<Record<string, unknown>>;
  /** a system turn put before every conversation that has none */
  system_prompt?: string | null;
  /** longest prompt with completion, tokens; null: no truncation */
  max_length?: number | null;
  truncation_mode?: "keep_start" | "keep_end";
  /** rows of the model's embedding: larger ids are errors */
  vocab_size?: number;
  /** the token that stands for an image; null or absent: the model sees none */
  image_token_id?: number | null;
}

/**
 * Recognises a preference: `prompt`, `chosen` and `rejected` as texts or as messages, or `prompt_ids`, `chosen_ids` and
 * `rejected_ids`. Without a `prompt`, the common beginning of both completions is the prompt.
 *
 * @throws {DataError} `train.jsonl, row 3: …` no format matches, a field has the wrong type, or there is nothing to
 *   learn
 */
export function parsePreference(source: NumberedRow, system_prompt: string | null = null): Preference {
  const { row } = source;
  if (!isObject(row)) throw rowError(source, `must be an object with named fields, not ${kindOf(row)}`);
  const has = (key: string): boolean => row[key] !== undefined && row[key] !== null;
  if (has("chosen_ids") && has("rejected_ids")) {
    const ids = (key: string) => integers(source, key, 0) ?? [];
    const [prompt_ids, chosen_ids, rejected_ids] = ["prompt_ids", "chosen_ids", "rejected_ids"].map(ids);
    return { format: "tokens", prompt_ids, chosen_ids, rejected_ids };
  }
  const missing = ["chosen", "rejected"].find((key) => !has(key));
  if (missing) {
    const keys = Object.keys(row).slice(0, 20).join(", ") || "(none)";
    throw rowError(
      source,
      `has no "${missing}": it has the keys ${keys}; a preference has prompt, chosen and rejected, as texts or as messages`,
    );
  }
  const { prompt, chosen, rejected } = row;
  if (typeof chosen === "string" && typeof rejected === "string") {
    for (const [key, text] of Object.entries({ chosen, rejected })) {
      if (text === "") throw rowError(source, `"${key}" is empty, so there is nothing to learn`);
    }
    if (!has("prompt")) return { format: "plain", ...sharedText(chosen, rejected) };
    if (typeof prompt === "string") return { format: "plain", prompt, chosen, rejected };
    throw rowError(source, `"prompt" must be a string where "chosen" and "rejected" are, not ${kindOf(prompt)}`);
  }
  if (!Array.isArray(chosen) || !Array.isArray(rejected)) {
    throw rowError(
      source,
      `"chosen" and "rejected" must be two strings or two lists of messages, not ${kindOf(chosen)} and ${kindOf(rejected)}`,
    );
  }
  const sides = { chosen: parseMessages(source, "chosen"), rejected: parseMessages(source, "rejected") };
  for (const [key, messages] of Object.entries(sides)) requireCompletion(source, key, messages);
  // a text beside whole conversations repeats the first turn of both
  const own = has("prompt") && typeof prompt !== "string" ? parseMessages(source, "prompt") : null;
  const parts = own ? { prompt: own, ...sides } : sharedMessages(sides.chosen, sides.rejected);
  if (parts.prompt.length === 0) {
    throw rowError(
      source,
      own
        ? '"prompt" has no messages'
        : 'has no prompt: "chosen" and "rejected" must begin with the same messages, or "prompt" must hold them',
    );
  }
  return {
    format: "chat",
    ...parts,
    prompt: withSystem(source, parts.prompt, system_prompt),
    ...chatExtras(source),
  };
}

/** The common beginning of two texts, up to its last space. @see TRL's extract_prompt */
function sharedText(chosen: string, rejected: string): { prompt: string; chosen: string; rejected: string } {
  const most = Math.min(chosen.length, rejected.length);
  let at = 0;
  while (at < most - 1 && chosen[at] === rejected[at]) at++;
  const differs = chosen[at] !== rejected[at];
  const low = chosen.charCodeAt(at);
  if (at > 0 && low >= 0xdc00 && low < 0xe000) at--; // the second half of a character
  if (at > 0 && chosen[at - 1] === " " && differs) at--;
  return { prompt: chosen.slice(0, at), chosen: chosen.slice(at), rejected: rejected.slice(at) };
}

/** The common first messages of two conversations; each keeps at least its last message. @see TRL's extract_prompt */
function sharedMessages(chosen: Message[], rejected: Message[]) {
  const most = Math.min(chosen.length, rejected.length);
  let at = 0;
  while (at < most - 1 && JSON.stringify(chosen[at]) === JSON.stringify(rejected[at])) at++;
  return { prompt: chosen.slice(0, at), chosen: chosen.slice(at), rejected: rejected.slice(at) };
}

interface Ids {
  prompt_ids: number[];
  chosen_ids: number[];
  rejected_ids: number[];
  warning: string | null;
  notes: RowNote[];
}

/** Tokens of the prompt, and of each completion after it, as in TRL's DPOTrainer. */
function encodePreference(source: NumberedRow, options: PreferenceOptions): Ids {
  const row = parsePreference(source, options.system_prompt ?? null);
  if (row.format === "tokens") return { ...row, warning: null, notes: [] };
  const { tokenizer } = options;
  if (!tokenizer)
    throw rowError(source, "has text, but no tokenizer was loaded; use a model folder with tokenizer.json");
  if (row.format === "plain") {
    const eos = tokenizer.eos_token;
    if (!eos) throw rowError(source, "is plain text, but the tokenizer has no eos_token to end it");
    const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: true });
    const whole = (text: string) => encode(row.prompt + (text.endsWith(eos) ? text : text + eos));
    const made = after(source, encode(row.prompt), whole(row.chosen), whole(row.rejected));
    return { ...made, notes: columnNotes(source, ["chosen", "rejected", "prompt"]) };
  }
  const template = options.chat_template ?? tokenizer.chat_template;
  if (template === null)
    throw rowError(source, "is a conversation, and the model has no chat template; set chat_template_path");
  const kwargs = { ...options.chat_template_kwargs, ...row.chat_template_kwargs };
  const chat: ChatOptions = {
    bos_token: tokenizer.bos_token,
    eos_token: tokenizer.eos_token,
    pad_token: tokenizer.pad_token ?? undefined,
    ...kwargs,
    tools: row.tools,
  };
  try {
    const prompt = renderChat(template, row.prompt, { ...chat, add_generation_prompt: true });
    const rendered = [row.chosen, row.rejected].map((completion) => {
      const messages = [...row.prompt, ...completion];
      return { messages, text: renderChat(template, messages, chat) };
    });
    const encode = (text: string) => {
      const ids = tokenizer.encode(text);
      return source.images ? repeated(ids, imageCounts(source, ids, options.image_token_id ?? null)) : ids;
    };
    const [chosen, rejected] = rendered.map(({ text }) => encode(text));
    const about = { tools: row.tools, kwargs, template };
    const notes = rendered.flatMap((one) => conversationNotes(source, { ...one, ...about }));
    return {
      ...after(source, encode(prompt), chosen, rejected),
      notes: [...notes, ...columnNotes(source, ["chosen", "rejected", "prompt", "system", "tools"])],
    };
  } catch (error) {
    if (error instanceof DataError && !error.message.startsWith(source.file)) throw rowError(source, error.message);
    throw error;
  }
}

/**
 * The tokens after the prompt in each completion; the prompt's own token count applies, even if its tokens differ
 * there.
 */
function after(source: NumberedRow, prompt_ids: number[], chosen: number[], rejected: number[]): Omit<Ids, "notes"> {
  const odd = Object.entries({ chosen, rejected }).find(([, whole]) => prompt_ids.some((id, i) => id !== whole[i]));
  const warning =
    odd === undefined
      ? null
      : `${source.file}, row ${source.number}: the prompt alone is not the start of prompt + ${odd[0]}; the completion begins after ${prompt_ids.length} tokens all the same, as in TRL`;
  const rest = (whole: number[]) => whole.slice(prompt_ids.length);
  return { prompt_ids, chosen_ids: rest(chosen), rejected_ids: rest(rejected), warning };
}

/**
 * Tokens of one row: each completion with the prompt before it, truncated as TRL does.
 *
 * @returns `pair`: null if the prompt alone fills max_length and its start is kept; `truncated`: whether tokens were
 *   removed
 * @throws {DataError} with the row's file and number
 */
export function tokenizePreference(
  source: NumberedRow,
  options: PreferenceOptions,
): { pair: TokenizedPair | null; truncated: boolean; warning: string | null; notes: RowNote[] } {
  const { prompt_ids, chosen_ids, rejected_ids, warning, notes } = encodePreference(source, options);
  const limit = options.vocab_size ?? Number.POSITIVE_INFINITY;
  const outside = [...prompt_ids, ...chosen_ids, ...rejected_ids].find((id) => id >= limit);
  if (outside !== undefined) {
    throw rowError(source, `token id ${outside} is outside the model's vocabulary of ${limit}`);
  }
  const max = options.max_length ?? Number.POSITIVE_INFINITY;
  const keepEnd = options.truncation_mode === "keep_end";
  if (!keepEnd && prompt_ids.length >= max) return { pair: null, truncated: true, warning, notes };
  const cut = (key: string, completion: readonly number[]): TokenizedCompletion => {
    const whole = [...prompt_ids, ...completion];
    const first = keepEnd ? Math.max(0, whole.length - max) : 0;
    // at most half the memory of an array
    if (source.images && whole.slice(0, first).includes(options.image_token_id!))
      throw rowError(source, cutImage(whole.length, max));
    const input_ids = Int32Array.from(keepEnd ? whole.slice(first) : whole.slice(0, max));
    const prompt = Math.max(0, prompt_ids.length - first);
    if (input_ids.length <= Math.max(1, prompt)) {
      throw rowError(source, `its ${key} completion has no token after another token: there is nothing to learn`);
    }
    return { input_ids, prompt };
  };
  const pair: TokenizedPair = { chosen: cut("chosen", chosen_ids), rejected: cut("rejected", rejected_ids) };
  if (source.images) pair.row_images = source.images;
  const truncated = prompt_ids.length + Math.max(chosen_ids.length, rejected_ids.length) > max;
  if (chosen_ids.length === rejected_ids.length && chosen_ids.every((id, i) => id === rejected_ids[i])) {
    const text = `${source.file}, row ${source.number}: "chosen" and "rejected" are the same, so there is nothing to prefer`;
    notes.push({ kind: "equal", text });
  }
  return { pair, truncated, warning, notes };
}

export interface PreferenceDataset {
  rows: TokenizedPair[];
  /** rows left out because their prompt alone fills `max_length` */
  dropped: number;
  /** rows that were truncated to `max_length` */
  truncated: number;
  /** tokens in `rows`, of both completions with their prompts */
  num_tokens: number;
  /** at most a few of each kind, then a count */
  warnings: string[];
}

/**
 * Tokenises every preference. Yields to the event loop every 50 ms, so that a page or Ctrl-C stays responsive.
 *
 * @param options.onProgress called regularly with the number of rows read
 * @throws {DataError} the first invalid row; a data set without remaining rows
 * @throws {AbortError} `signal` fired
 */
export async function tokenizePreferences(
  rows: RowSource,
  options: PreferenceOptions & Pacing,
): Promise<PreferenceDataset> {
  const made: PreferenceDataset = { rows: [], dropped: 0, truncated: 0, num_tokens: 0, warnings: [] };
  const told = new NoteCounter();
  let [read, odd, file] = [0, 0, ""];
  for await (const source of pacedRows(rows, "Tokenising", options)) {
    read++;
    file = source.file;
    const { pair, truncated, warning, notes } = tokenizePreference(source, options);
    told.add(notes);
    if (warning && ++odd <= 3) made.warnings.push(warning);
    if (pair === null) made.dropped++;
    else {
      if (truncated) made.truncated++;
      made.rows.push(pair);
      made.num_tokens += pair.chosen.input_ids.length + pair.rejected.input_ids.length;
    }
  }
  if (odd > 3) made.warnings.push(`${odd - 3} more rows whose prompt is not the start of prompt + completion`);
  made.warnings.push(...told.texts());
  const { max_length: max } = options;
  if (made.dropped > 0)
    made.warnings.push(`${made.dropped} of ${read} rows left out: the prompt fills max_length ${max}`);
  if (made.rows.length === 0) {
    throw new DataError(
      read === 0
        ? "The data set has no rows"
        : `${file}: the prompt of each of the ${read} rows fills max_length ${max}, which leaves no token of a completion`,
    );
  }
  return made;
}
