import { DataError } from "../errors.ts";
import { type Message, renderChat } from "./chat-template.ts";
import { imageCounts, repeated } from "./images/tokens.ts";
import { type Pacing, pacedRows, type RowSource } from "./paced-rows.ts";
import type { RowImage } from "./row-error.ts";
import { conversationNotes, NoteCounter, type RowNote } from "./row-notes.ts";
import { type NumberedRow, parsePrompt, type RowOptions, rowError } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A prompt for completions, with the columns of its row for rewards. */
export interface PromptRow {
  /** from the data set, with the system prompt added: the input of reward functions */
  prompt: string | Message[];
  /** rendered with the chat template: the model's input */
  text: string;
  /** an image has as many tokens as merged patches, if image_token_id is given */
  prompt_ids: readonly number[];
  /** images in the order of their tokens; absent: none */
  row_images?: readonly RowImage[];
  /** the row's other columns */
  columns: Readonly<Record<string, unknown>>;
}

export interface PromptOptions extends RowOptions {
  tokenizer: Tokenizer;
  /** replaces the tokenizer's own template */
  chat_template?: string | null;
  /** schemas of functions for rows without the column tools */
  tools?: readonly unknown[] | null;
  /** variables for the template; a row's own `chat_template_kwargs` go before them */
  chat_template_kwargs?: Readonly<Record<string, unknown>>;
  /** the token that stands for an image; absent or null: it is not repeated */
  image_token_id?: number | null;
  /** tokens; rows with a longer prompt are left out. null: no limit */
  max_prompt_length?: number | null;
  /** rows of the model's embedding: larger ids are errors */
  vocab_size?: number;
}

interface PromptDataset {
  rows: PromptRow[];
  /** parts of rows that the model does not see unchanged: the first of each kind, with a count */
  notes: string[];
  /** rows left out because their prompt is longer than max_prompt_length */
  dropped: number;
}

/**
 * Text and tokens of one row's prompt. A conversation is rendered with the chat template and ends with the header of
 * the assistant's turn; plain text gets the tokenizer's special tokens.
 *
 * @throws {DataError} with the row's file and number
 */
export function encodePrompt(source: NumberedRow, options: PromptOptions): PromptRow {
  return encodeWithNotes(source, options).row;
}

function encodeWithNotes(source: NumberedRow, options: PromptOptions): { row: PromptRow; notes: RowNote[] } {
  const { tokenizer } = options;
  const parsed = parsePrompt(source, options);
  const { prompt: _, ...columns } = source.row;
  let text: string;
  let prompt_ids: number[];
  let notes: RowNote[] = [];
  if ("tools" in parsed) {
    const template = options.chat_template ?? tokenizer.chat_template;
    if (template === null) {
      throw rowError(source, "is a conversation, but the model has no chat template; set chat_template_path");
    }
    const kwargs = { ...options.chat_template_kwargs, ...parsed.chat_template_kwargs };
    const tools = parsed.tools ?? (options.tools ? [...options.tools] : null);
    try {
      text = renderChat(template, parsed.prompt, {
        bos_token: tokenizer.bos_token,
        eos_token: tokenizer.eos_token,
        pad_token: tokenizer.pad_token ?? undefined,
        ...kwargs,
        tools,
        add_generation_prompt: true,
      });
    } catch (error) {
      throw error instanceof DataError ? rowError(source, error.message) : error;
    }
    notes = conversationNotes(source, {
      messages: parsed.prompt,
      tools,
      kwargs,
      template,
      text,
    });
    prompt_ids = tokenizer.encode(text);
  } else {
    text = parsed.prompt;
    prompt_ids = tokenizer.encode(text, { add_special_tokens: true });
  }
  if (prompt_ids.length === 0) throw rowError(source, "its prompt has no tokens");
  const limit = options.vocab_size ?? Number.POSITIVE_INFINITY;
  const outside = prompt_ids.find((id) => id >= limit);
  if (outside !== undefined) {
    throw rowError(source, `token id ${outside} is outside the model's vocabulary of ${limit}`);
  }
  const { images } = source;
  if (options.image_token_id !== undefined && images) {
    prompt_ids = repeated(prompt_ids, imageCounts(source, prompt_ids, options.image_token_id));
  }
  return { row: { prompt: parsed.prompt, text, prompt_ids, columns, ...(images && { row_images: images }) }, notes };
}

/**
 * Reads every row's prompt. Yields to the event loop every 50 ms, so that a page or Ctrl-C stays responsive.
 *
 * @param options.onProgress called regularly with the number of rows read
 * @throws {DataError} the first invalid row; a data set without remaining rows
 * @throws {AbortError} `signal` fired
 */
export async function encodePrompts(rows: RowSource, options: PromptOptions & Pacing): Promise<PromptDataset> {
  const made: PromptDataset = { rows: [], notes: [], dropped: 0 };
  const longest = options.max_prompt_length ?? Number.POSITIVE_INFINITY;
  const told = new NoteCounter();
  let read = 0;
  let file = "";
  let shortest = Number.POSITIVE_INFINITY;
  for await (const source of pacedRows(rows, "Reading prompts", options)) {
    read++;
    file = source.file;
    const { row, notes } = encodeWithNotes(source, options);
    told.add(notes);
    shortest = Math.min(shortest, row.prompt_ids.length);
    if (row.prompt_ids.length > longest) made.dropped++;
    else made.rows.push(row);
  }
  if (made.rows.length === 0) {
    throw new DataError(
      read === 0
        ? "The data set has no rows"
        : `${file}: all ${read} prompts are longer than max_prompt_length ${longest}; the shortest has ${shortest} tokens`,
    );
  }
  made.notes = told.texts();
  return made;
}
