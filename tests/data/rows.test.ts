import { describe, expect, it } from "vitest";
import { parseRow, type RowOptions } from "../../src/data/rows.ts";
import { DataError } from "../../src/errors.ts";

const parse = (row: Record<string, unknown>, options?: RowOptions) =>
  parseRow({ row, number: 7, file: "train.jsonl" }, options);
const user = { role: "user", content: "Hi" };
const assistant = { role: "assistant", content: "Hello" };

describe("parseRow recognises", () => {
  it("messages, with tools and template variables", () => {
    const row = {
      messages: [user, assistant],
      tools: '[{"name":"f"}]',
      chat_template_kwargs: { enable_thinking: false },
    };
    expect(parse(row)).toEqual({
      format: "messages",
      messages: [user, assistant],
      tools: [{ name: "f" }],
      chat_template_kwargs: { enable_thinking: false },
    });
  });

  it("ShareGPT's conversations", () => {
    const turns = [
      { from: "human", value: "Hi" },
      { from: "gpt", value: "Hello" },
    ];
    expect(parse({ conversations: turns })).toMatchObject({ format: "messages", messages: [user, assistant] });
  });

  it("prompt and completion, plain and chat", () => {
    expect(parse({ prompt: "1+1=", completion: "2" })).toEqual({ format: "plain", prompt: "1+1=", completion: "2" });
    expect(parse({ prompt: [user], completion: [assistant] })).toMatchObject({
      format: "chat",
      prompt: [user],
      completion: [assistant],
    });
    // ultrachat_200k: a prompt beside whole conversations
    expect(parse({ prompt: "Hi", messages: [user, assistant] }).format).toBe("messages");
  });

  it("text, also under another column name", () => {
    expect(parse({ text: "abc" })).toEqual({ format: "text", text: "abc" });
    expect(parse({ content: "abc" }, { dataset_text_field: "content" })).toEqual({ format: "text", text: "abc" });
  });

  it("GSM8K's question and answer", () => {
    const row = { question: "2+2?", answer: "#### 4" };
    const completion = [{ role: "assistant", content: "#### 4" }];
    expect(parse(row)).toMatchObject({ format: "chat", prompt: [{ role: "user", content: "2+2?" }], completion });
    expect(parse(row, { system_prompt: "Think." })).toMatchObject({
      prompt: [
        { role: "system", content: "Think." },
        { role: "user", content: "2+2?" },
      ],
    });
  });

  it("token ids, with the masks of the row", () => {
    expect(parse({ input_ids: [1, 2], labels: [-100, 2] })).toEqual({
      format: "tokens",
      input_ids: [1, 2],
      labels: [-100, 2],
      completion_mask: null,
      assistant_masks: null,
    });
    expect(parse({ input_ids: [1, 2], completion_mask: [0, 1], assistant_masks: [1, 1], text: "x" })).toMatchObject({
      labels: null,
      completion_mask: [0, 1],
      assistant_masks: [1, 1],
    });
  });

  it("drops the nulls that tables fill in", () => {
    const padded = { role: "assistant", content: "Hello", tool_calls: null, reasoning_content: null };
    expect(parse({ messages: [user, padded], tools: null, labels: null })).toMatchObject({
      messages: [user, assistant],
      tools: null,
    });
    const calling = { role: "assistant", content: null, tool_calls: [{ name: "f" }] };
    expect(parse({ messages: [user, calling] })).toMatchObject({
      messages: [user, { content: "", role: "assistant" }],
    });
  });
});

describe("parseRow refuses", () => {
  it.each<[string, Record<string, unknown>, string]>([
    ["unknown keys", { foo: 1, bar: 2 }, "has the keys foo, bar; it needs messages, or prompt and completion, or text"],
    ["no keys", {}, "has the keys (none)"],
    ["no completion", { prompt: "a" }, 'has no completion: it has "prompt", and "completion" is missing'],
    [
      "a null completion",
      { prompt: "a", completion: null },
      'has no completion: it has "prompt", and "completion" is null',
    ],
    ["an empty completion", { prompt: "a", completion: "" }, 'has no completion: "completion" is empty'],
    ["an empty chat completion", { prompt: [user], completion: [] }, 'has no completion: "completion" (empty)'],
    ["a completion by the user", { prompt: [user], completion: [user] }, 'has no completion: "completion" (user)'],
    ["an answer with no question", { answer: "4" }, 'has no "question"'],
    ["an empty answer", { question: "a", answer: "" }, 'has no completion: "answer" is empty'],
    ["a conversation nobody answers", { messages: [user] }, 'has no completion: "messages" (user)'],
    ["an empty answer in a conversation", { messages: [user, { ...assistant, content: "" }] }, "has no completion"],
    ["a mixed row", { prompt: "a", completion: [assistant] }, "must be two strings or two lists of messages"],
    ["a number as text", { text: 3 }, '"text" must be a string, not 3'],
    ["empty text", { text: "" }, '"text" is empty'],
    ["messages that are no list", { messages: "hi" }, '"messages" must be a list of messages, not "hi"'],
    ["a message without a role", { messages: [{ content: "a" }] }, 'message 1 of "messages" has no role'],
    ["a numeric message", { messages: [user, 3] }, 'message 2 of "messages" must be {role, content}'],
    ["numeric content", { messages: [{ role: "user", content: 3 }] }, "must have a string or a list of parts"],
    ["no ids", { input_ids: [] }, '"input_ids" is empty'],
    ["fractional ids", { input_ids: [1, 2.5] }, '"input_ids"[1] must be an integer of at least 0, not 2.5'],
    ["negative ids", { input_ids: [-1] }, '"input_ids"[0] must be an integer of at least 0'],
    ["ids of text", { input_ids: "1 2" }, '"input_ids" must be a list of integers'],
    ["labels of another length", { input_ids: [1, 2], labels: [1] }, '"labels" has 1 entries and "input_ids" has 2'],
    ["odd labels", { input_ids: [1], labels: [-7] }, '"labels" must be token ids or -100, not -7'],
    ["tools that are no list", { messages: [user, assistant], tools: "f" }, '"tools" must be a list'],
    [
      "odd template variables",
      { messages: [user, assistant], chat_template_kwargs: 3 },
      '"chat_template_kwargs" must be',
    ],
  ])("%s", (_, row, message) => {
    expect(() => parse(row)).toThrow(DataError);
    expect(() => parse(row)).toThrow(message);
    expect(() => parse(row)).toThrow(/^train.jsonl, row 7: /);
  });

  it("refuses values that are not rows", () => {
    for (const row of [null, 3, [1]]) expect(() => parse(row as never)).toThrow("row 7: must be an object");
  });
});
