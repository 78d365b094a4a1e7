import { DataError } from "../errors.ts";
import { compactJson } from "../text/python-json.ts";
import { messageOf } from "../text/show.ts";
import { renderJinja } from "./jinja/jinja.ts";
import { generationTag } from "./training-template.ts";

/** A turn of a conversation, as in the OpenAI and Hugging Face chat formats. */
export interface Message {
  role: string;
  content?: unknown;
  [key: string]: unknown;
}

/** Variables of a chat template besides the messages; all other fields are passed to the template unchanged. */
export interface ChatOptions {
  /** end with the header of an assistant turn; default false */
  add_generation_prompt?: boolean;
  /** JSON schemas of functions */
  tools?: unknown[] | null;
  bos_token?: string | null;
  eos_token?: string | null;
  /** for example `enable_thinking` */
  [key: string]: unknown;
}

/** A range `[start, end)` of a string, in UTF-16 units. */
export type Span = [start: number, end: number];

/**
 * Renders `messages` with a Hugging Face chat template (Jinja).
 *
 * The template is untrusted text: it cannot reach JavaScript, and it is stopped at the limits in `templateLimits`.
 *
 * @returns the prompt's text, exactly as the template writes it
 * @throws {DataError} `Cannot render the chat template: …` with the template's own error, or its syntax error
 * @see https://huggingface.co/docs/transformers/chat_templating
 */
export function renderChat(template: string, messages: readonly Message[], options: ChatOptions = {}): string {
  const { add_generation_prompt = false, tools = null, bos_token, eos_token, ...rest } = options;
  try {
    return renderJinja(template, {
      bos_token: bos_token ?? undefined,
      eos_token: eos_token ?? undefined,
      ...rest,
      messages,
      tools: tools && tools.length > 0 ? tools : null,
      add_generation_prompt,
    });
  } catch (error) {
    // the library's parser recurses
    const reason = /call stack/.test(messageOf(error)) ? "it is nested too deep" : messageOf(error);
    throw new DataError(`Cannot render the chat template for roles ${roles(messages)}: ${reason}`);
  }
}

/**
 * Renders a whole conversation, and finds the characters that the assistant wrote.
 *
 * A template with `{% generation %}` blocks marks them itself. With other templates, an assistant turn begins at the
 * end of the rendering of the earlier turns with the generation prompt, and ends at the end of the rendering that
 * includes the turn. A template may shorten a turn when others follow (Qwen3 drops earlier thinking), if the remaining
 * text is the end of the full turn.
 *
 * @throws {DataError} the template cannot be rendered turn by turn, or changes text of earlier turns
 */
export function renderAssistantSpans(
  template: string,
  messages: readonly Message[],
  options: ChatOptions = {},
): { text: string; spans: Span[] } {
  const whole = { ...options, add_generation_prompt: false };
  const text = renderChat(template, messages, whole);
  if (generationTag.test(template)) return { text, spans: markedSpans(template, messages, whole, text) };

  const spans: Span[] = [];
  for (const [i, message] of messages.entries()) {
    if (message.role !== "assistant") continue;
    const before = renderChat(template, messages.slice(0, i), { ...options, add_generation_prompt: true });
    const through = renderChat(template, messages.slice(0, i + 1), whole);
    if (!text.startsWith(before) || !through.startsWith(before)) {
      throw new DataError(
        `Cannot locate assistant turn ${i + 1} of ${messages.length}: the conversation must begin with the earlier turns ` +
          `and the generation prompt, but they differ after ${commonPrefix(text, before)} of ${before.length} characters. ` +
          "Use a template with {% generation %} blocks, or assistant_only_loss: false",
      );
    }
    const end = turnEnd(template, messages, i, whole, { text, start: before.length, through });
    if (end > before.length) spans.push([before.length, end]);
  }
  return { text, spans };
}

/**
 * The end of assistant turn `i`, which begins at `start` of `text`; `through` is the rendering that ends with the turn.
 */
function turnEnd(
  template: string,
  messages: readonly Message[],
  i: number,
  options: ChatOptions,
  { text, start, through }: { text: string; start: number; through: string },
): number {
  if (text.startsWith(through)) return through.length;
  // The turn was shortened because others follow: find the longest start of the remaining text that ends the full turn.
  const alone = through.slice(start);
  const mark = unusedCharacter([template, messages, options]);
  const probe = renderChat(template, [...messages.slice(0, i), { role: "assistant", content: mark }], options);
  const closing = probe.includes(mark) ? probe.length - probe.lastIndexOf(mark) - 1 : 0;
  const kept = longestOverlap(alone, text.slice(start, start + alone.length));
  if (kept === 0 || kept < closing) {
    throw new DataError(
      `Cannot locate the end of assistant turn ${i + 1} of ${messages.length}: the template writes it differently when other ` +
        "turns follow. Use a template with {% generation %} blocks, or assistant_only_loss: false",
    );
  }
  return start + kept;
}

/** The longest `n` for which `a` ends with the first `n` characters of `b` (Knuth-Morris-Pratt, linear). */
function longestOverlap(a: string, b: string): number {
  const fallback = new Int32Array(b.length + 1);
  for (let i = 1, k = 0; i < b.length; i++) {
    while (k > 0 && b[i] !== b[k]) k = fallback[k]!;
    if (b[i] === b[k]) k++;
    fallback[i + 1] = k;
  }
  let n = 0;
  for (let i = 0; i < a.length; i++) {
    while (n > 0 && (n === b.length || a[i] !== b[n])) n = fallback[n]!;
    if (b.length > 0 && a[i] === b[n]) n++;
  }
  return n;
}

/** Spans of `{% generation %}` blocks: the tags become marks in the output, which are then removed. */
function markedSpans(template: string, messages: readonly Message[], options: ChatOptions, text: string): Span[] {
  const open = unusedCharacter([template, messages, options]);
  const close = unusedCharacter([template, messages, options], open);
  // A block keeps the white-space control of its tags.
  const marked = template.replace(
    /\{%(-?)\s*(end)?generation\s*(-?)%\}/g,
    (_, left: string, end: string | undefined, right: string) =>
      `{%${left} if true %}${end ? close : open}{% endif ${right}%}`,
  );
  const rendered = renderChat(marked, messages, options);
  const spans: Span[] = [];
  let plain = "";
  let start = -1;
  for (const piece of rendered.split(new RegExp(`(${open}|${close})`))) {
    if (piece === open) start = plain.length;
    else if (piece === close) {
      if (start >= 0 && plain.length > start) spans.push([start, plain.length]);
      start = -1;
    } else plain += piece;
  }
  if (plain !== text || start >= 0) {
    throw new DataError(
      "Cannot locate the {% generation %} blocks of the chat template: their output is altered after them",
    );
  }
  return spans;
}

/** A private-use character that does not occur in `values`. */
function unusedCharacter(values: unknown, besides = ""): string {
  const used = compactJson(values) + besides;
  for (let code = 0xe000; code < 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (!used.includes(character)) return character;
  }
  throw new DataError("Cannot mark assistant turns: the conversation uses every private-use character");
}

function commonPrefix(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

function roles(messages: readonly Message[]): string {
  const names = messages.slice(0, 8).map((message) => String(message?.role));
  return `[${names.join(", ")}${messages.length > 8 ? ", …" : ""}]`;
}
