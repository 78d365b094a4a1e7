import type { Message } from "./chat-template.ts";
import type { NumberedRow } from "./row-error.ts";

/** A part of a row that training does not see unchanged. */
export interface RowNote {
  /** notes of one kind are counted together */
  kind: string;
  text: string;
}

interface RenderedRow {
  messages: readonly Message[];
  tools: readonly unknown[] | null;
  /** variables of the row and of the run for the template */
  kwargs: Readonly<Record<string, unknown>>;
  template: string;
  /** the template's output */
  text: string;
}

type Fields = Record<string, unknown>;
const fields = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {});

/** Parts of a conversation that its rendering leaves out, or writes in an unexpected way. */
export function conversationNotes(source: NumberedRow, row: RenderedRow): RowNote[] {
  const notes: RowNote[] = [];
  const add = (kind: string, text: string): void => {
    notes.push({ kind, text: `${source.file}, row ${source.number}: ${text}` });
  };
  const { messages, tools, kwargs, template, text } = row;
  let at = 0;
  for (const [i, message] of messages.entries()) {
    const where = `message ${i + 1} (${message.role})`;
    // a template may drop the thinking of earlier turns; Qwen's do so by design
    const said = typeof message.content === "string" ? message.content.split("</think>").at(-1)!.trim() : "";
    if (said !== "") {
      const found = text.indexOf(said, at);
      if (found >= 0) at = found + said.length;
      else if (!text.includes(said.slice(0, 24))) add("turn", `the chat template leaves out ${where}`);
    }
    if (message.weight === 0)
      add("weight", `"weight": 0 of ${where} is ignored: assistant_only_loss labels every assistant turn`);
    for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
      const { name, arguments: given } = fields(fields(call).function ?? call);
      if (typeof name === "string" && !text.includes(name))
        add("tool_calls", `the chat template leaves out the tool call ${name} of ${where}`);
      if (typeof given === "string" && text.includes(JSON.stringify(given))) {
        add(
          "arguments",
          `the arguments of the tool call ${String(name)} of ${where} are a JSON string, which the chat template writes with quotes and backslashes; use an object`,
        );
      }
      const nulls = Object.keys(fields(given)).filter((key) => fields(given)[key] === null);
      if (nulls.length > 0) {
        add(
          "nulls",
          `the arguments of the tool call ${String(name)} of ${where} contain null for ${nulls.slice(0, 5).join(", ")}, which the chat template writes; Arrow tables give every call the fields of all calls`,
        );
      }
    }
  }
  for (const tool of tools ?? []) {
    const { name } = fields(fields(tool).function ?? tool);
    if (typeof name === "string" && !text.includes(name)) add("tools", `the chat template leaves out the tool ${name}`);
  }
  for (const name of Object.keys(kwargs)) {
    if (!template.includes(name)) add("kwargs", `the chat template does not know ${name} of chat_template_kwargs`);
  }
  return notes;
}

/** Columns that have a meaning in other formats, and that a user may expect to be read. */
const TELLING = [
  "system",
  "instruction",
  "input",
  "output",
  "history",
  "tools",
  "functions",
  "documents",
  "images",
  "image",
  "reasoning",
  "thinking",
  "context",
];

/** Notes columns of a row that its format does not read. @param read the columns that it reads */
export function columnNotes(source: NumberedRow, read: readonly string[]): RowNote[] {
  const unread = TELLING.filter((name) => {
    const value = source.row[name];
    const empty =
      value === undefined ||
      value === null ||
      value === "" ||
      (Array.isArray(value) && value.length === 0) ||
      value === "[]";
    return !empty && !read.includes(name);
  });
  if (unread.length === 0) return [];
  const [names, are] = [unread.join(", "), unread.length === 1 ? "column" : "columns"];
  return [
    {
      kind: "columns",
      text: `${source.file}, row ${source.number}: the ${are} ${names} ${unread.length === 1 ? "is" : "are"} ignored, because the row has ${read[0]}`,
    },
  ];
}

/** Notes of a data set: the first of each kind, and the number of further rows. */
export class NoteCounter {
  private readonly kinds = new Map<string, { first: string; rows: number }>();

  add(notes: readonly RowNote[]): void {
    for (const [kind, text] of new Map(notes.map((note) => [note.kind, note.text]))) {
      const known = this.kinds.get(kind);
      if (known) known.rows++;
      else this.kinds.set(kind, { first: text, rows: 1 });
    }
  }

  texts(): string[] {
    return [...this.kinds.values()].map(({ first, rows }) =>
      rows === 1 ? first : `${first} (and in ${rows - 1} more row${rows === 2 ? "" : "s"})`,
    );
  }
}
