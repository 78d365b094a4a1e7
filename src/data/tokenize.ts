import { DataError } from "../errors.ts";
import { type ChatOptions, type Message, renderAssistantSpans, renderChat, type Span } from "./chat-template.ts";
import { cutImage, imageCounts, repeated } from "./images/tokens.ts";
import { type Pacing, pacedRows, type RowSource } from "./paced-rows.ts";
import type { RowImage } from "./row-error.ts";
import { columnNotes, conversationNotes, NoteCounter, type RowNote } from "./row-notes.ts";
import { type NumberedRow, parseRow, type Row, type RowOptions, rowError } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { trainingTemplate } from "./training-template.ts";

/** Token ids of one sequence, and each token's label, −100 if the token is not scored. Unshifted, as in HF. */
export interface TokenizedRow {
  input_ids: ArrayLike<number>;
  labels: ArrayLike<number>;
  /** in the order of their tokens; absent: none */
  images?: readonly RowImage[];
}

/** How rows become tokens; names and defaults are those of TRL's SFTConfig. */
export interface TokenizeOptions extends RowOptions {
  /** null is enough for pre-tokenised rows */
  tokenizer: Tokenizer | null;
  /** replaces the tokenizer's own template */
  chat_template?: string | null;
  /** variables for the template; a row's own `chat_template_kwargs` take precedence */
  chat_template_kwargs?: Record<string, unknown>;
  /** text that ends a plain row; default the tokenizer's */
  eos_token?: string | null;
  /** longest sequence, tokens; null: no truncation. Use null for packing that splits long rows. */
  max_length?: number | null;
  truncation_mode?: "keep_start" | "keep_end";
  /** label only the completion; null (default): yes for prompt/completion rows, no for others */
  completion_only_loss?: boolean | null;
  /** label only the assistant's text; for conversational rows */
  assistant_only_loss?: boolean;
  /** rows of the model's embedding: larger ids are errors */
  vocab_size?: number;
  /** the token that stands for a merged patch of an image */
  image_token_id?: number | null;
}

/**
 * Tokens and labels of one row, as in TRL's SFTTrainer.
 *
 * - Plain text, and plain prompt + completion, end with the EOS token unless they already do.
 * - The completion begins after the number of tokens in the prompt alone, even if those tokens differ (with a warning).
 * - A token has a label if every active mask includes it: the completion's, the assistant's.
 * - The chat template's image token becomes as many as its image has merged patches; none of them has a label.
 * - Truncation applies to tokens and labels; it may not cut off an image.
 *
 * @returns `warning`: a problem of the row, or null; `notes`: parts of the row that training does not see unchanged
 * @throws {DataError} with the row's file and number
 */
export function tokenizeRow(
  source: NumberedRow,
  options: TokenizeOptions,
): { input_ids: number[]; labels: number[]; warning: string | null; notes: RowNote[] } {
  const row = parseRow(source, options);
  const only = options.completion_only_loss ?? null;
  if (only && (row.format === "text" || row.format === "messages")) {
    throw rowError(source, `completion_only_loss: true needs prompt and completion, but the row has ${row.format}`);
  }
  if (options.assistant_only_loss && (row.format === "text" || row.format === "plain")) {
    throw rowError(source, `assistant_only_loss: true needs a conversation, but the row is plain (${row.format})`);
  }
  const made = row.format === "tokens" ? fromTokens(source, row, options) : fromText(source, row, options);
  const { masks, warning, notes } = made;
  const scored = made.labels ?? made.input_ids.map((id, i) => (masks.every((mask) => mask[i]) ? id : -100));
  const { input_ids, labels } = withImageTokens(source, { input_ids: made.input_ids, labels: scored }, options);

  const limit = options.vocab_size ?? Number.POSITIVE_INFINITY;
  const outside = input_ids.find((id) => id >= limit) ?? labels.find((id) => id >= limit);
  if (outside !== undefined) {
    throw rowError(source, `token id ${outside} is outside the model's vocabulary of ${limit}`);
  }
  const max = options.max_length ?? null;
  if (max === null || input_ids.length <= max) return { input_ids, labels, warning, notes };
  const [start, end] = options.truncation_mode === "keep_end" ? [-max, undefined] : [0, max];
  const imageTokens = (ids: readonly number[]) => ids.filter((id) => id === options.image_token_id).length;
  if (source.images && imageTokens(input_ids.slice(start, end)) < imageTokens(input_ids))
    throw rowError(source, cutImage(input_ids.length, max));
  return { input_ids: input_ids.slice(start, end), labels: labels.slice(start, end), warning, notes };
}

/** Repeats each image token for the merged patches of its image; none of them has a label. */
function withImageTokens(
  source: NumberedRow,
  { input_ids, labels }: { input_ids: number[]; labels: number[] },
  { image_token_id = null }: TokenizeOptions,
): { input_ids: number[]; labels: number[] } {
  if (!source.images) return { input_ids, labels };
  const counts = imageCounts(source, input_ids, image_token_id);
  const unlabelled = labels.map((label, i) => (input_ids[i] === image_token_id ? -100 : label));
  return { input_ids: repeated(input_ids, counts), labels: repeated(unlabelled, counts) };
}

interface Made {
  input_ids: number[];
  labels: number[] | null;
  masks: ArrayLike<number | boolean>[];
  warning: string | null;
  notes: RowNote[];
}

function fromTokens(source: NumberedRow, row: Row & { format: "tokens" }, options: TokenizeOptions): Made {
  const { input_ids, labels, completion_mask, assistant_masks } = row;
  if (labels === null && options.completion_only_loss && completion_mask === null) {
    throw rowError(source, "completion_only_loss: true needs labels or completion_mask beside input_ids");
  }
  if (labels === null && options.assistant_only_loss && assistant_masks === null) {
    throw rowError(source, "assistant_only_loss: true needs labels or assistant_masks beside input_ids");
  }
  const masks: number[][] = [];
  if (completion_mask && options.completion_only_loss !== false) masks.push(completion_mask);
  if (assistant_masks) masks.push(assistant_masks);
  return { input_ids, labels, masks, warning: null, notes: [] };
}

function fromText(source: NumberedRow, row: Exclude<Row, { format: "tokens" }>, options: TokenizeOptions): Made {
  const tokenizer = options.tokenizer;
  if (!tokenizer)
    throw rowError(source, "has text, but no tokenizer was loaded; use a model folder with tokenizer.json");
  const withSpecial = { add_special_tokens: true };

  if (row.format === "text") {
    const input_ids = tokenizer.encode(endWith(row.text, eosToken(source, options)), withSpecial);
    return { input_ids, labels: null, masks: [], warning: null, notes: columnNotes(source, [textFieldOf(options)]) };
  }
  if (row.format === "plain") {
    const prompt = tokenizer.encode(row.prompt, withSpecial);
    const full = row.prompt + endWith(row.completion, eosToken(source, options));
    const made = withCompletion(source, prompt, tokenizer.encode(full, withSpecial), [], options);
    return { ...made, notes: columnNotes(source, ["prompt", "completion"]) };
  }
  const published = options.chat_template ?? tokenizer.chat_template;
  if (published === null) {
    throw rowError(source, "is a conversation, but the model has no chat template; set chat_template_path");
  }
  const template = options.assistant_only_loss ? trainingTemplate(published) : published;
  const chat: ChatOptions = {
    bos_token: tokenizer.bos_token,
    eos_token: tokenizer.eos_token,
    pad_token: tokenizer.pad_token ?? undefined,
    ...options.chat_template_kwargs,
    ...row.chat_template_kwargs,
    tools: row.tools,
  };
  try {
    const messages = row.format === "chat" ? [...row.prompt, ...row.completion] : row.messages;
    const { text, input_ids, masks } = encodeChat(
      tokenizer,
      template,
      messages,
      chat,
      options.assistant_only_loss ?? false,
    );
    const kwargs = { ...options.chat_template_kwargs, ...row.chat_template_kwargs };
    const notes = [
      ...conversationNotes(source, { messages, tools: row.tools, kwargs, template, text }),
      ...columnNotes(source, columnsOf(source)),
    ];
    if (row.format === "messages") return { input_ids, labels: null, masks, warning: null, notes };
    const prompt = renderChat(template, row.prompt, { ...chat, add_generation_prompt: true });
    return { ...withCompletion(source, tokenizer.encode(prompt), input_ids, masks, options), notes };
  } catch (error) {
    if (error instanceof DataError && !error.message.startsWith(source.file)) throw rowError(source, error.message);
    throw error;
  }
}

const textFieldOf = (options: TokenizeOptions): string => options.dataset_text_field ?? "text";

/** The columns of a conversational row. */
function columnsOf({ row }: NumberedRow): string[] {
  const all = ["messages", "conversations", "question", "instruction", "prompt"];
  const first = all.find((name) => row[name] !== undefined && row[name] !== null)!;
  const alpaca = first === "instruction" ? ["input", "output", "history"] : [];
  return [first, ...alpaca, "system", "tools"];
}

function withCompletion(
  source: NumberedRow,
  prompt: number[],
  input_ids: number[],
  masks: Made["masks"],
  options: TokenizeOptions,
): Made {
  const differs = prompt.findIndex((id, i) => id !== input_ids[i]);
  const warning =
    differs < 0
      ? null
      : `${source.file}, row ${source.number}: the prompt alone is not the start of prompt + completion (they differ at ` +
        `token ${differs + 1} of ${prompt.length}); labels still begin after ${prompt.length} tokens, as in TRL`;
  const made = { input_ids, labels: null, warning, notes: [] };
  if (options.completion_only_loss === false) return { ...made, masks };
  return { ...made, masks: [input_ids.map((_, i) => i >= prompt.length), ...masks] };
}

function encodeChat(
  tokenizer: Tokenizer,
  template: string,
  messages: Message[],
  chat: ChatOptions,
  assistantOnly: boolean,
): { text: string; input_ids: number[]; masks: boolean[][] } {
  if (!assistantOnly) {
    const text = renderChat(template, messages, chat);
    return { text, input_ids: tokenizer.encode(text), masks: [] };
  }
  const { text, spans } = renderAssistantSpans(template, messages, chat);
  const made = encodeSpans(tokenizer, text, spans);
  if (!made.mask.some(Boolean))
    throw new DataError("assistant_only_loss: this conversation has no tokens of the assistant");
  return { text, input_ids: made.input_ids, masks: [made.mask] };
}

/** Tokens of `text`, and whether each overlaps one of `spans`. */
function encodeSpans(tokenizer: Tokenizer, text: string, spans: Span[]): { input_ids: number[]; mask: boolean[] } {
  const whole = tokenizer.encodeWithByteEnds(text);
  if (whole) {
    const utf8 = new TextEncoder();
    const byteOf = (offset: number): number => utf8.encode(tokenizer.normalize(text.slice(0, offset))).length;
    const mask = new Array<boolean>(whole.ids.length).fill(false);
    let i = 0;
    for (const span of spans) {
      const [start, end] = [byteOf(span[0]), byteOf(span[1])];
      while (i < mask.length && whole.byteEnds[i]! <= start) i++;
      for (; i < mask.length && (i === 0 ? 0 : whole.byteEnds[i - 1]!) < end; i++) mask[i] = true;
    }
    return { input_ids: whole.ids, mask };
  }
  // Without exact offsets the pieces are encoded one by one, so that no token straddles a boundary.
  const input_ids: number[] = [];
  const mask: boolean[] = [];
  const add = (piece: string, inside: boolean): void => {
    for (const id of tokenizer.encode(piece)) {
      input_ids.push(id);
      mask.push(inside);
    }
  };
  let done = 0;
  for (const [start, end] of spans) {
    add(text.slice(done, start), false);
    add(text.slice(start, end), true);
    done = end;
  }
  add(text.slice(done), false);
  return { input_ids, mask };
}

function eosToken(source: NumberedRow, options: TokenizeOptions): string {
  const eos = options.eos_token ?? options.tokenizer?.eos_token;
  if (!eos) throw rowError(source, "is plain text, but the tokenizer has no eos_token to end it; set eos_token");
  return eos;
}

function endWith(text: string, ending: string): string {
  return text.endsWith(ending) ? text : text + ending;
}

/** Tokens that are scored. Nothing predicts the first token. */
export function countScored(labels: readonly number[]): number {
  return labels.reduce((n, label, i) => (i > 0 && label !== -100 ? n + 1 : n), 0);
}

export interface TokenizedDataset {
  rows: TokenizedRow[];
  /** rows left out because no token had a label (after truncation) */
  dropped: number;
  /** rows that were truncated to `max_length`, or fill it exactly */
  truncated: number;
  /** tokens in `rows` */
  num_tokens: number;
  /** tokens in `rows` that are scored */
  num_labels: number;
  /** at most a few of each kind, then a count */
  warnings: string[];
}

/**
 * Tokenises every row. Yields to the event loop every 50 ms, so that a page or Ctrl-C stays responsive.
 *
 * @param options.signal stops between two rows
 * @param options.onProgress called regularly with the number of rows read
 * @throws {DataError} the first invalid row, or a data set in which no row has a label
 * @throws {AbortError} `signal` fired
 */
export async function tokenizeDataset(rows: RowSource, options: TokenizeOptions & Pacing): Promise<TokenizedDataset> {
  const made: TokenizedDataset = { rows: [], dropped: 0, truncated: 0, num_tokens: 0, num_labels: 0, warnings: [] };
  const max = options.max_length ?? Number.POSITIVE_INFINITY;
  if (max < 2) throw new DataError(`max_length must be at least 2 tokens, one to read and one to predict, not ${max}`);
  let read = 0;
  let odd = 0;
  const told = new NoteCounter();
  let file = "";
  for await (const source of pacedRows(rows, "Tokenising", options)) {
    read++;
    file = source.file;
    const { input_ids, labels, warning, notes } = tokenizeRow(source, options);
    told.add(notes);
    if (warning && ++odd <= 3) made.warnings.push(warning);
    if (input_ids.length >= max) made.truncated++;
    const scored = countScored(labels);
    if (scored === 0) made.dropped++;
    else {
      // at most half the memory of an array
      const { images } = source;
      const row = { input_ids: Int32Array.from(input_ids), labels: Int32Array.from(labels) };
      made.rows.push(images ? { ...row, images } : row);
      made.num_tokens += input_ids.length;
      made.num_labels += scored;
    }
  }
  if (odd > 3) made.warnings.push(`${odd - 3} more rows whose prompt is not the start of prompt + completion`);
  made.warnings.push(...told.texts());
  if (made.dropped > 0) {
    made.warnings.push(`${made.dropped} of ${read} rows left out: no token has a label within max_length ${max}`);
  }
  if (made.rows.length === 0) {
    throw new DataError(
      read === 0
        ? "The data set has no rows"
        : `${file}: none of the ${read} rows has a label within max_length ${max} (truncation_mode ${options.truncation_mode ?? "keep_start"})`,
    );
  }
  return made;
}
