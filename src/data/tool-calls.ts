import { DataError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { parsePythonJson } from "../text/python-json.ts";
import { type ChatOptions, type Message, renderChat } from "./chat-template.ts";

/** A call of a function, as a message of the assistant holds it. */
export interface ToolCall {
  type: "function";
  function: { name: string; arguments: Record<string, unknown> };
}

/** A turn of the model that was read: its words, and the functions that it calls. */
interface AssistantTurn extends Message {
  role: "assistant";
  content: string;
  tool_calls?: ToolCall[];
}

const BLOCK = /<tool_call>([\s\S]*?)<\/tool_call>\s*/gy;
const FUNCTION = /^<function=([^>\n]+)>([\s\S]*)<\/function>$/;
const PARAMETER = /\s*<parameter=([^>\n]+)>\n?([\s\S]*?)\n?<\/parameter>\s*/gy;

/**
 * Reads a turn as Qwen's chat templates write it: words, then calls in `<tool_call>` tags, as JSON (Qwen2.5, Qwen3) or as
 * `<function=…>` with `<parameter=…>` (Qwen3.5, Qwen3-Coder). Calls count only at the end of the turn and if each is whole;
 * else the turn is plain text, as in TRL.
 *
 * @param text without the token that ends the turn
 */
export function parseAssistant(text: string): AssistantTurn {
  const plain: AssistantTurn = { role: "assistant", content: text };
  const after = text.lastIndexOf("</think>");
  const start = text.indexOf("<tool_call>", Math.max(0, after));
  if (start < 0) return plain;
  const tool_calls: ToolCall[] = [];
  BLOCK.lastIndex = start;
  let end = start;
  for (let found = BLOCK.exec(text); found; found = BLOCK.exec(text)) {
    const call = parseCall(found[1].trim());
    if (call === null) return plain;
    tool_calls.push(call);
    end = BLOCK.lastIndex;
  }
  if (tool_calls.length === 0 || end < text.length) return plain;
  return { role: "assistant", content: text.slice(0, start).replace(/\n$/, ""), tool_calls };
}

function parseCall(text: string): ToolCall | null {
  const found = FUNCTION.exec(text);
  if (found) return parseParameters(found[1].trim(), found[2]);
  let value: unknown;
  try {
    value = parsePythonJson(text);
  } catch {
    return null;
  }
  if (!isObject(value) || typeof value.name !== "string" || !isObject(value.arguments)) return null;
  return { type: "function", function: { name: value.name, arguments: value.arguments as Record<string, unknown> } };
}

function parseParameters(name: string, text: string): ToolCall | null {
  const given: Record<string, unknown> = {};
  PARAMETER.lastIndex = 0;
  let end = 0;
  for (let found = PARAMETER.exec(text); found; found = PARAMETER.exec(text)) {
    given[found[1].trim()] = parameterOf(found[2]);
    end = PARAMETER.lastIndex;
  }
  return text.slice(end).trim() === "" ? { type: "function", function: { name, arguments: given } } : null;
}

/** A parameter's value: JSON if it is, else text. */
function parameterOf(text: string): unknown {
  try {
    return parsePythonJson(text);
  } catch {
    return text;
  }
}

/**
 * What follows a turn with calls up to the model's next turn: the results as the template writes them, and the header of
 * an assistant's turn.
 *
 * @param end the token that ended the turn: what follows begins after it
 * @param results messages of role `tool`
 * @throws {DataError} the template renders results in a way that depends on what follows
 * @see TRL's GRPOTrainer._get_tool_suffix_ids
 */
export function toolSuffix(
  template: string,
  results: readonly Message[],
  { end, ...options }: ChatOptions & { end: string },
): string {
  const call = { type: "function", function: { name: results[0]?.name, arguments: {} } };
  const before: Message[] = [
    { role: "user", content: "dummy" },
    { role: "assistant", content: "", tool_calls: [call] },
  ];
  const prefix = renderChat(template, before, options);
  const whole = renderChat(template, [...before, ...results], { ...options, add_generation_prompt: true });
  const at = end === "" ? -1 : prefix.lastIndexOf(end);
  const kept = at < 0 ? prefix : prefix.slice(0, at + end.length);
  if (!whole.startsWith(kept)) {
    throw new DataError(
      "Cannot use this chat template with tools: it renders a turn otherwise where results follow it",
    );
  }
  return whole.slice(kept.length);
}

/** Whether a template writes the schemas of tools, calls and results. */
export function rendersTools(template: string, tools: readonly unknown[]): boolean {
  const name = "qwench_probe";
  const question: Message[] = [{ role: "user", content: "hi" }];
  const called: Message[] = [
    ...question,
    { role: "assistant", content: "", tool_calls: [{ type: "function", function: { name, arguments: {} } }] },
    { role: "tool", name, content: "qwench_result" },
  ];
  try {
    const said = renderChat(template, called);
    const schemas = renderChat(template, question, { tools: [...tools] }) !== renderChat(template, question);
    return schemas && said.includes(name) && said.includes("qwench_result");
  } catch {
    return false;
  }
}
