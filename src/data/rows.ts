import { isObject } from "../text/json.ts";
import { kindOf } from "../text/show.ts";
import type { Message } from "./chat-template.ts";
import { parseMessages, tryJson, withSystem } from "./messages.ts";
import { type NumberedRow, rowError } from "./row-error.ts";

export { type NumberedRow, rowError } from "./row-error.ts";

/** Fields of a conversation's row beside its messages. */
export interface ChatExtras {
  /** JSON schemas of functions */
  tools: unknown[] | null;
  /** variables for the chat template, such as `enable_thinking` */
  chat_template_kwargs: Record<string, unknown>;
}

/** A row of a known format, named by `format`. Formats and field names are TRL's. */
export type Row =
  | ({ format: "messages"; messages: Message[] } & ChatExtras)
  | ({ format: "chat"; prompt: Message[]; completion: Message[] } & ChatExtras)
  | { format: "plain"; prompt: string; completion: string }
  | { format: "text"; text: string }
  | {
      format: "tokens";
      input_ids: number[];
      /** aligned with `input_ids`, −100 for no label; null: every token is its own label */
      labels: number[] | null;
      /** 1 for tokens of the completion */
      completion_mask: number[] | null;
      /** 1 for tokens that the assistant wrote */
      assistant_masks: number[] | null;
    };

export interface RowOptions {
  /** key of a plain text row; default `text` */
  dataset_text_field?: string;
  /** a system turn for every conversation without one */
  system_prompt?: string | null;
}

/**
 * Recognises the format of a row by its keys.
 *
 * In this order: `input_ids`; `prompt` and `completion`; `messages` (or ShareGPT's `conversations`); `text`;
 * `question` and `answer` (GSM8K), or Alpaca's `instruction`, `input` and `output`, which become a user prompt and an
 * assistant completion. A row's `system` column, else `system_prompt`, becomes the system turn of conversations without
 * one.
 *
 * @throws {DataError} `train.jsonl, row 3: …` no format matches, a field has the wrong type, or there is nothing to
 *   learn
 */
export function parseRow(source: NumberedRow, options: RowOptions = {}): Row {
  const { row } = source;
  if (!isObject(row)) {
    throw rowError(source, `must be an object with named fields, not ${kindOf(row)}`);
  }
  const has = (key: string): boolean => row[key] !== undefined && row[key] !== null;
  const textField = options.dataset_text_field ?? "text";

  if (has("input_ids")) return tokensRow(source);
  if (has("prompt") && has("completion")) return promptRow(source, options);
  const conversation = has("messages") ? "messages" : has("conversations") ? "conversations" : null;
  if (conversation !== null) {
    const messages = parseMessages(source, conversation);
    requireCompletion(source, conversation, messages);
    return { format: "messages", messages: withSystem(source, messages, options.system_prompt), ...chatExtras(source) };
  }
  if (has(textField)) {
    const text = stringField(source, textField);
    if (text === "") throw rowError(source, `"${textField}" is empty, so there is nothing to learn`);
    return { format: "text", text };
  }
  for (const [question, answer] of QUESTIONS) {
    if (!has(question) || !has(answer)) continue;
    const content = stringField(source, answer);
    if (content === "") throw rowError(source, `has no completion: "${answer}" is empty`);
    return {
      format: "chat",
      prompt: withSystem(
        source,
        [...history(source), { role: "user", content: questionOf(source, question) }],
        options.system_prompt,
      ),
      completion: [{ role: "assistant", content }],
      ...chatExtras(source),
    };
  }
  if (textField in row && row[textField] === null)
    throw rowError(source, `"${textField}" is null, so there is nothing to learn`);

  const half = [
    ["prompt", "completion"],
    ["completion", "prompt"],
    ["question", "answer"],
    ["answer", "question"],
    ["instruction", "output"],
  ].find(([present]) => has(present!));
  if (half) {
    const missing = half[1]!;
    const what =
      missing === "completion" || missing === "answer" || missing === "output"
        ? "has no completion"
        : `has no "${missing}"`;
    throw rowError(source, `${what}: it has "${half[0]}", and "${missing}" is ${missing in row ? "null" : "missing"}`);
  }
  const keys = Object.keys(row).slice(0, 20);
  throw rowError(
    source,
    `has the keys ${keys.length ? keys.join(", ") : "(none)"}; it needs messages, or prompt and completion, or ${textField}, ` +
      "or question and answer, or instruction, input and output, or input_ids (and labels)",
  );
}

/** Columns of a question and its answer: GSM8K's and Alpaca's. */
const QUESTIONS: readonly (readonly [string, string])[] = [
  ["question", "answer"],
  ["instruction", "output"],
];

/** The question of a row. Alpaca's `input` follows its `instruction` on a new line. */
function questionOf(source: NumberedRow, key: string): string {
  const text = stringField(source, key);
  const { input } = source.row;
  if (key !== "instruction" || input === undefined || input === null || input === "") return text;
  return `${text}\n${stringField(source, "input")}`;
}

/** Alpaca's `history`: pairs of question and answer before this one. */
function history(source: NumberedRow): Message[] {
  const { history: pairs } = source.row;
  if (pairs === undefined || pairs === null || !("instruction" in source.row)) return [];
  if (
    !Array.isArray(pairs) ||
    !pairs.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every((t) => typeof t === "string"))
  ) {
    throw rowError(source, `"history" must be a list of pairs of texts, not ${kindOf(pairs)}`);
  }
  return (pairs as [string, string][]).flatMap(([user, assistant]) => [
    { role: "user", content: user },
    { role: "assistant", content: assistant },
  ]);
}

/** A prompt to complete, as plain text or a conversation. */
type Prompt = { prompt: string } | ({ prompt: Message[] } & ChatExtras);

/**
 * The prompt of a row, for training on the model's own completions: `prompt` as text or as messages, else `question`,
 * `problem` or `instruction` (with Alpaca's `input`) as a user's turn. The row's `system` column, else `system_prompt`,
 * becomes the system turn of conversations without one.
 *
 * @throws {DataError} `train.jsonl, row 3: …` the prompt is missing or empty, or the assistant has the last turn
 */
export function parsePrompt(source: NumberedRow, options: RowOptions = {}): Prompt {
  const { row } = source;
  if (!isObject(row)) {
    throw rowError(source, `must be an object with named fields, not ${kindOf(row)}`);
  }
  const key = ["prompt", "question", "problem", "instruction"].find(
    (name) => row[name] !== undefined && row[name] !== null,
  );
  if (!key) {
    const keys = Object.keys(row).slice(0, 20);
    throw rowError(
      source,
      `has the keys ${keys.join(", ") || "(none)"}; it needs prompt, question, problem or instruction`,
    );
  }
  if (row[key] === "") throw rowError(source, `"${key}" is empty`);
  if (key === "prompt" && typeof row[key] === "string") return { prompt: row[key] };
  const messages =
    key === "prompt"
      ? parseMessages(source, key)
      : [...history(source), { role: "user", content: questionOf(source, key) } as Message];
  const last = messages.at(-1);
  if (!last) throw rowError(source, `"${key}" has no messages`);
  if (last.role === "assistant") {
    throw rowError(source, `"${key}" ends with the assistant's turn: a prompt ends where the model begins to answer`);
  }
  return { prompt: withSystem(source, messages, options.system_prompt), ...chatExtras(source) };
}

function promptRow(source: NumberedRow, options: RowOptions): Row {
  const { prompt, completion } = source.row;
  if (typeof prompt === "string" && typeof completion === "string") {
    if (completion === "") throw rowError(source, 'has no completion: "completion" is empty');
    return { format: "plain", prompt, completion };
  }
  if (Array.isArray(prompt) && Array.isArray(completion)) {
    const before = parseMessages(source, "prompt");
    const after = parseMessages(source, "completion");
    if (before.length === 0) throw rowError(source, '"prompt" has no messages');
    requireCompletion(source, "completion", after);
    return {
      format: "chat",
      prompt: withSystem(source, before, options.system_prompt),
      completion: after,
      ...chatExtras(source),
    };
  }
  throw rowError(
    source,
    `"prompt" and "completion" must be two strings or two lists of messages, not ${kindOf(prompt)} and ${kindOf(completion)}`,
  );
}

function tokensRow(source: NumberedRow): Row {
  const input_ids = integers(source, "input_ids", 0);
  if (input_ids === null || input_ids.length === 0) throw rowError(source, '"input_ids" is empty');
  const aligned = (key: string, least: number): number[] | null => {
    const values = integers(source, key, least);
    if (values !== null && values.length !== input_ids.length) {
      throw rowError(
        source,
        `"${key}" has ${values.length} entries and "input_ids" has ${input_ids.length}; the numbers must be equal`,
      );
    }
    return values;
  };
  const labels = aligned("labels", -100);
  const wrong = labels?.find((label) => label < 0 && label !== -100);
  if (wrong !== undefined) throw rowError(source, `"labels" must be token ids or -100, not ${wrong}`);
  return {
    format: "tokens",
    input_ids,
    labels,
    completion_mask: aligned("completion_mask", 0),
    assistant_masks: aligned("assistant_masks", 0),
  };
}

/** @throws {DataError} messages without an assistant turn with content */
export function requireCompletion(source: NumberedRow, key: string, messages: Message[]): void {
  const written = messages.some(
    (message) =>
      message.role === "assistant" &&
      ((Array.isArray(message.tool_calls) && message.tool_calls.length > 0) ||
        (typeof message.reasoning_content === "string" && message.reasoning_content !== "") ||
        (typeof message.content === "string" && message.content.length > 0)),
  );
  if (!written) {
    const roles = messages.map((message) => message.role).join(", ");
    throw rowError(source, `has no completion: "${key}" (${roles || "empty"}) has no assistant turn with content`);
  }
}

/** @throws {DataError} tools or variables of another type */
export function chatExtras(source: NumberedRow): ChatExtras {
  const { tools, chat_template_kwargs: kwargs } = source.row;
  const list = typeof tools === "string" && tools.trim() !== "" ? tryJson(tools) : tools || null;
  if (list !== null && !Array.isArray(list)) throw rowError(source, `"tools" must be a list, not ${kindOf(tools)}`);
  if (kwargs !== undefined && kwargs !== null && !isObject(kwargs)) {
    throw rowError(source, `"chat_template_kwargs" must be an object, not ${kindOf(kwargs)}`);
  }
  return { tools: list, chat_template_kwargs: (kwargs as Record<string, unknown>) ?? {} };
}

function stringField(source: NumberedRow, key: string): string {
  const value = source.row[key];
  if (typeof value !== "string") throw rowError(source, `"${key}" must be a string, not ${kindOf(value)}`);
  return value;
}

/** A column of integers, or null if it is absent. @throws {DataError} another type, or a value below `least` */
export function integers(source: NumberedRow, key: string, least: number): number[] | null {
  const value = source.row[key];
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value)) throw rowError(source, `"${key}" must be a list of integers, not ${kindOf(value)}`);
  const wrong = value.findIndex((n) => !Number.isInteger(n) || n < least || n > 0x7fffffff);
  if (wrong >= 0) {
    throw rowError(source, `"${key}"[${wrong}] must be an integer of at least ${least}, not ${kindOf(value[wrong])}`);
  }
  return value as number[];
}
