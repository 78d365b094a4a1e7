import { describe, expect, it } from "vitest";
import { encodePrompt, encodePrompts } from "../../src/data/prompts.ts";
import { parsePrompt, parseRow } from "../../src/data/rows.ts";
import { tokenizeDataset, tokenizeRow } from "../../src/data/tokenize.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { DataError } from "../../src/errors.ts";
import { parsePythonJson } from "../../src/text/python-json.ts";
import { chatml, qwenTokenizer, tinyTokenizerFiles } from "./fixtures.ts";

const row = (text: string) => ({
  row: parsePythonJson(text) as Record<string, unknown>,
  number: 3,
  file: "train.jsonl",
});
const qwen = (text: string) => {
  const { input_ids } = tokenizeRow(row(text), { tokenizer: qwenTokenizer() });
  return { tokens: input_ids.length, text: qwenTokenizer().decode(input_ids) };
};

describe("numbers of tools are written as json.dumps writes them", () => {
  it("in the arguments of calls", () => {
    const { tokens, text } = qwen(
      '{"messages":[{"role":"user","content":"Warm?"},{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"set","arguments":{"t":20.0,"id":9007199254740993,"eps":1e-07,"big":1e+16}}}]}]}',
    );
    expect(text).toContain('"arguments": {"t": 20.0, "id": 9007199254740993, "eps": 1e-07, "big": 1e+16}');
    // as many as transformers makes
    expect(tokens).toBe(95);
  });

  it("in schemas", () => {
    const { text } = qwen(
      '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}],"tools":[{"type":"function","function":{"name":"sample","parameters":{"type":"object","properties":{"temperature":{"type":"number","minimum":0.0,"maximum":2.0,"default":1.0},"10":{"type":"string"},"9":{"type":"string"}}}}}]}',
    );
    expect(text).toContain(
      '"temperature": {"type": "number", "minimum": 0.0, "maximum": 2.0, "default": 1.0}, "10": {"type": "string"}, "9": {"type": "string"}',
    );
  });
});

describe("no part of a row is lost", () => {
  it("joins text parts, and refuses other parts with the row", () => {
    const parts =
      '{"messages": [{"role": "user", "content": [{"type": "text", "text": "Tom has "}, "3 apples?"]}, {"role": "assistant", "content": [{"type": "text", "text": "3"}]}]}';
    expect(parseRow(row(parts))).toMatchObject({ messages: [{ content: "Tom has 3 apples?" }, { content: "3" }] });
    const image = '{"prompt": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]}';
    expect(() => parsePrompt(row(image))).toThrow(
      'train.jsonl, row 3: message 1 of "prompt": part 1 of its content is of type "image"; only text parts are read here',
    );
  });

  it("maps ShareGPT's calls and observations, and refuses other roles", () => {
    const talk =
      '{"conversations": [{"from": "human", "value": "Weather in Oslo?"}, {"from": "function_call", "value": "{\\"name\\": \\"get_weather\\", \\"arguments\\": {\\"city\\": \\"Oslo\\", \\"days\\": 1.0}}"}, {"from": "observation", "value": "12"}, {"from": "gpt", "value": "12 degrees."}]}';
    expect(qwen(talk).text).toContain(
      "<|im_start|>user\nWeather in Oslo?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n" +
        '{"name": "get_weather", "arguments": {"city": "Oslo", "days": 1.0}}\n</tool_call><|im_end|>\n' +
        "<|im_start|>user\n<tool_response>\n12\n</tool_response><|im_end|>\n<|im_start|>assistant\n12 degrees.<|im_end|>\n",
    );
    expect(() => parseRow(row('{"conversations": [{"from": "narrator", "value": "x"}]}'))).toThrow(
      'message 1 of "conversations" is from "narrator", which is not a known role',
    );
    expect(() => parseRow(row('{"conversations": [{"from": "function_call", "value": "f(1)"}]}'))).toThrow(
      'message 1 of "conversations" must be JSON of {name, arguments}',
    );
  });

  it("puts the system column first, and refuses two system turns", () => {
    const talk =
      '{"system": "Answer in XML.", "tools": "[]", "conversations": [{"from": "human", "value": "Tom?"}, {"from": "gpt", "value": "3"}]}';
    const system = { role: "system", content: "Answer in XML." };
    expect(parseRow(row(talk), { system_prompt: "Other" })).toMatchObject({ messages: [system, { role: "user" }, {}] });
    const two =
      '{"system": "A", "messages": [{"role": "system", "content": "B"}, {"role": "assistant", "content": "x"}]}';
    expect(() => parseRow(row(two))).toThrow('has a "system" column and another system turn');
  });

  it.each([
    '{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"7"}]}',
    '{"prompt":[{"role":"user","content":"Q"}],"completion":[{"role":"assistant","content":"7"}]}',
    '{"question":"Q","answer":"7"}',
    '{"instruction":"Q","output":"7"}',
    '{"conversations":[{"from":"human","value":"Q"},{"from":"gpt","value":"7"}]}',
  ])("gives system_prompt to %s", (text) => {
    const made = parseRow(row(text), { system_prompt: "Be brief." });
    const first = made.format === "messages" ? made.messages[0] : made.format === "chat" ? made.prompt[0] : null;
    expect(first).toEqual({ role: "system", content: "Be brief." });
  });

  it("uses Alpaca's input and history", () => {
    const text = '{"instruction": "Add.", "input": "1 and 2", "output": "3", "history": [["Hi", "Hello"]]}';
    const turns = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello" },
      { role: "user", content: "Add.\n1 and 2" },
    ];
    expect(parseRow(row(text))).toMatchObject({ prompt: turns, completion: [{ role: "assistant", content: "3" }] });
    expect(parsePrompt(row(text))).toMatchObject({ prompt: turns });
  });

  it("reports that a text is null", () => {
    expect(() => parseRow(row('{"text": null}'))).toThrow('train.jsonl, row 3: "text" is null');
  });
});

describe("a note lists what the template leaves out, once for all rows", () => {
  const tokenizer = loadTokenizer(tinyTokenizerFiles());
  const notes = async (texts: string[], chat_template = chatml) =>
    (await tokenizeDataset(texts.map(row), { tokenizer, chat_template })).warnings;

  it.each([
    ['{"messages":[{"role":"tool","content":"zz"},{"role":"assistant","content":"a"}]}', "leaves out message 1 (tool)"],
    [
      '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0}]}',
      '"weight": 0 of message 2',
    ],
    [
      '{"messages":[{"role":"assistant","content":"b","tool_calls":[{"function":{"name":"ff","arguments":{}}}]}]}',
      "leaves out the tool call ff",
    ],
    [
      '{"messages":[{"role":"assistant","content":"b"}],"tools":[{"function":{"name":"gg"}}]}',
      "leaves out the tool gg",
    ],
    [
      '{"messages":[{"role":"assistant","content":"b"}],"chat_template_kwargs":{"enable_thinking":false}}',
      "does not know enable_thinking",
    ],
    [
      '{"messages":[{"role":"assistant","content":"b"}],"input":"x"}',
      "the column input is ignored, because the row has messages",
    ],
    ['{"prompt":"qa ","completion":"b q","system":"s"}', "the column system is ignored, because the row has prompt"],
  ])("%s", async (text, told) => {
    const template = "{% for m in messages %}{% if m.role != 'tool' %}q{{ m.content }}qqq{% endif %}{% endfor %}";
    const found = await notes([text, text, text], template);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(told);
    expect(found[0]).toMatch(/\(and in 2 more rows\)$/);
  });

  it("JSON strings and nulls in arguments", async () => {
    const call = (args: string) =>
      `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"f","arguments":${args}}}]}]}`;
    const template = qwenTokenizer().chat_template!;
    const told = async (args: string) =>
      (await tokenizeDataset([row(call(args))], { tokenizer: qwenTokenizer(), chat_template: template })).warnings;
    expect((await told('"{\\"x\\": 1}"'))[0]).toContain("are a JSON string");
    expect((await told('{"x": 1, "y": null}'))[0]).toContain("contain null for y");
    expect(await told('{"x": 1}')).toEqual([]);
  });

  it("of prompts too", async () => {
    const made = await encodePrompts(
      [row('{"prompt":[{"role":"user","content":"a"}],"tools":[{"function":{"name":"gg"}}]}')],
      {
        tokenizer,
        chat_template: chatml,
      },
    );
    expect(made.notes[0]).toContain("leaves out the tool gg");
  });
});

it("a run's chat_template_kwargs reach the template; a row's own go before them, and unknown ones are told", async () => {
  const tokenizer = qwenTokenizer();
  const chat_template = "{{ mood }}{{ messages[0].content }}";
  const plain = '{"prompt":[{"role":"user","content":"ab"}]}';
  const own = '{"prompt":[{"role":"user","content":"ab"}],"chat_template_kwargs":{"mood":"sad "}}';
  const options = { tokenizer, chat_template, chat_template_kwargs: { mood: "glad " } };
  expect(encodePrompt(row(plain), options).text).toBe("glad ab");
  expect(encodePrompt(row(own), options).text).toBe("sad ab");
  const { notes } = await encodePrompts([row(plain)], { ...options, chat_template_kwargs: { enable_thinking: false } });
  expect(notes.join()).toContain("the chat template does not know enable_thinking of chat_template_kwargs");
});

it("a bos_token of null is none, whatever config.json names", () => {
  const files = tinyTokenizerFiles();
  const config = JSON.stringify({ bos_token_id: 98, eos_token_id: 98 });
  const tokenizerConfig = JSON.stringify({ ...JSON.parse(files.tokenizerConfig), bos_token: null });
  const tokenizer = loadTokenizer({ ...files, tokenizerConfig, config });
  expect([tokenizer.bos_token, tokenizer.bos_token_id]).toEqual([null, null]);
  const prompt = row('{"prompt":[{"role":"user","content":"ab"}]}');
  const { text } = encodePrompt(prompt, { tokenizer, chat_template: "{{ bos_token }}{{ messages[0].content }}" });
  expect(text).toBe("ab");
  expect(() => encodePrompt(row('{"prompt":[]}'), { tokenizer })).toThrow(DataError);
});
