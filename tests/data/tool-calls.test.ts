import { describe, expect, it } from "vitest";
import { parseAssistant, rendersTools, toolSuffix } from "../../src/data/tool-calls.ts";
import { qwenTokenizer } from "./fixtures.ts";

const call = (name: string, args: object) => ({ type: "function", function: { name, arguments: args } });
const TOOL = { type: "function", function: { name: "add", description: "adds", parameters: { type: "object" } } };

describe("a turn", () => {
  it.each([
    ['<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call>', "", [call("add", { a: 3, b: 4 })]],
    ['Let me see.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n', "Let me see.", [call("f", {})]],
    [
      '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n<tool_call>{"name": "g", "arguments": {"x": "y"}}</tool_call>',
      "",
      [call("f", {}), call("g", { x: "y" })],
    ],
    [
      "<think>\n<tool_call>no\n</think>\n\n<tool_call>\n<function=f>\n<parameter=a>\n3\n</parameter>\n<parameter=text>\nline 1\nline 2\n</parameter>\n</function>\n</tool_call>",
      "<think>\n<tool_call>no\n</think>\n",
      [call("f", { a: 3, text: "line 1\nline 2" })],
    ],
  ])("with calls is read as Qwen's templates write it: %j", (text, content, tool_calls) => {
    expect(parseAssistant(text)).toEqual({ role: "assistant", content, tool_calls });
  });

  it.each([
    "no call",
    '<tool_call>\n{"name": "f", "arguments": {}}',
    '<tool_call>\n{"name": "f"}\n</tool_call>',
    '<tool_call>\n{"name": "f", "arguments": [1]}\n</tool_call>',
    '<tool_call>\n{"name": "f", \n</tool_call>',
    '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> and more',
    "<tool_call><function=f><parameter=a>1</function></tool_call>",
  ])("that is not whole is plain text, as in TRL: %j", (text) => {
    expect(parseAssistant(text)).toEqual({ role: "assistant", content: text });
  });
});

describe("results", () => {
  const { chat_template, eos_token } = qwenTokenizer();

  it("follow a turn as Qwen2.5's template writes them", () => {
    const results = [
      { role: "tool", name: "add", content: "7" },
      { role: "tool", name: "add", content: "8" },
    ];
    expect(toolSuffix(chat_template!, results, { eos_token, end: eos_token! })).toBe(
      "\n<|im_start|>user\n<tool_response>\n7\n</tool_response>\n<tool_response>\n8\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    );
  });

  it("need a template that writes schemas, calls and results", () => {
    expect(rendersTools(chat_template!, [TOOL])).toBe(true);
    expect(rendersTools("{% for m in messages %}{{ m.content }}{% endfor %}", [TOOL])).toBe(false);
  });
});
