import { isObject } from "../text/json.ts";
import { copySpelling, parsePythonJson } from "../text/python-json.ts";
import { kindOf } from "../text/show.ts";
import type { Message } from "./chat-template.ts";
import { type NumberedRow, rowError } from "./row-error.ts";

/** ShareGPT's and older names for the usual roles. */
const ROLES: Readonly<Record<string, string>> = {
  human: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  bing: "assistant",
  bard: "assistant",
  bot: "assistant",
  model: "assistant",
  observation: "tool",
  function_response: "tool",
  function: "tool",
};
/** Allowed values of `from`; `role` may be any role that the template knows. */
const KNOWN = new Set(["system", "user", "assistant", "tool", "developer"]);

/**
 * The messages in a column: a list, or JSON of one. ShareGPT's `from` and `value` become `role` and `content`, its
 * `function_call` becomes an assistant's `tool_calls`, its `observation` a tool's turn. Text parts are joined.
 *
 * @throws {DataError} with the row and the message: a wrong type, an unknown role, a part that is not text
 */
export function parseMessages(source: NumberedRow, key: string): Message[] {
  let list = source.row[key];
  if (typeof list === "string" && key !== "prompt" && key !== "completion") list = tryJson(list);
  if (!Array.isArray(list)) throw rowError(source, `"${key}" must be a list of messages, not ${kindOf(list)}`);
  return list.map((item: unknown, i) => {
    const where = `message ${i + 1} of "${key}"`;
    if (typeof item !== "object" || item === null || Array.isArray(item)) {
      throw rowError(source, `${where} must be {role, content}, not ${kindOf(item)}`);
    }
    const { from, value, ...message } = item as Record<string, unknown>;
    const named = message.role ?? from;
    if (typeof named !== "string" || named === "") throw rowError(source, `${where} has no role`);
    const content = message.content ?? value;
    if (named === "function_call") return functionCall(source, where, content);
    const role = Object.hasOwn(ROLES, named) ? ROLES[named] : named;
    if (message.role === undefined && !KNOWN.has(role)) {
      throw rowError(
        source,
        `${where} is from ${JSON.stringify(named)}, which is not a known role: ${[...KNOWN, ...Object.keys(ROLES), "function_call"].join(", ")}`,
      );
    }
    const made = withoutNulls({
      ...message,
      role,
      content: source.images ? partsOf(source, where, content) : joined(source, where, content),
    });
    return copySpelling(item, made);
  });
}

/** The text of a message: its parts concatenated, as in Qwen's templates for images. */
function joined(source: NumberedRow, where: string, content: unknown): string {
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) {
    throw rowError(source, `${where} must have a string or a list of parts as content, not ${kindOf(content)}`);
  }
  const texts = content.map((part: unknown, i) => {
    if (typeof part === "string") return part;
    const { type, text } = (typeof part === "object" && part !== null ? part : {}) as Record<string, unknown>;
    if (typeof text === "string" && (type === undefined || type === null || type === "text")) return text;
    throw rowError(
      source,
      `${where}: part ${i + 1} of its content is ${typeof type === "string" ? `of type ${JSON.stringify(type)}` : kindOf(part)}; only text parts are read here. Images need a model with a vision tower, such as Qwen3.5`,
    );
  });
  return texts.join("");
}

/** The content of a message of a row with images: a text, or parts for the chat template if the message has images. */
function partsOf(source: NumberedRow, where: string, content: unknown): unknown {
  const isImage = (part: unknown) => isObject(part) && part.type === "image";
  if (!Array.isArray(content) || !content.some(isImage)) return joined(source, where, content);
  return content.map((part) => (isImage(part) ? part : { type: "text", text: joined(source, where, [part]) }));
}

/** ShareGPT's `function_call`: the name and arguments as JSON, one call or a list. */
function functionCall(source: NumberedRow, where: string, content: unknown): Message {
  const value = typeof content === "string" ? tryJson(content) : content;
  const calls = Array.isArray(value) ? value : [value];
  const tool_calls = calls.map((call: unknown) => {
    const { name, arguments: given } = (typeof call === "object" && call !== null ? call : {}) as Record<
      string,
      unknown
    >;
    if (typeof name !== "string") {
      throw rowError(source, `${where} must be JSON of {name, arguments}, not ${kindOf(content)}`);
    }
    const args = typeof given === "string" ? tryJson(given) : (given ?? {});
    return { type: "function", function: { name, arguments: args } };
  });
  return { role: "assistant", content: "", tool_calls };
}

/** Removes nulls: tables store a null for each missing field, but templates test `is defined`. */
function withoutNulls(message: Message): Message {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null)) as Message;
}

/** The value of a JSON text, or the text itself if it is not JSON. */
export function tryJson(text: string): unknown {
  try {
    return parsePythonJson(text);
  } catch {
    return text;
  }
}

/**
 * Adds a system turn to a conversation: the row's own `system` column, as in ShareGPT; else `system_prompt`, if the
 * conversation has no system turn.
 *
 * @throws {DataError} a row with a `system` column and another system turn
 */
export function withSystem(
  source: NumberedRow,
  messages: Message[],
  system_prompt: string | null | undefined,
): Message[] {
  const { system } = source.row;
  const own = messages.find(({ role }) => role === "system");
  if (typeof system === "string" && system !== "") {
    if (!own) return [{ role: "system", content: system }, ...messages];
    if (own.content !== system) {
      throw rowError(source, 'has a "system" column and another system turn; remove one of the two');
    }
    return messages;
  }
  if (system !== undefined && system !== null && typeof system !== "string") {
    throw rowError(source, `"system" must be a string, not ${kindOf(system)}`);
  }
  return system_prompt && !own ? [{ role: "system", content: system_prompt }, ...messages] : messages;
}
