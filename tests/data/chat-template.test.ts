import { describe, expect, it } from "vitest";
import { type Message, renderAssistantSpans, renderChat } from "../../src/data/chat-template.ts";
import { templateLimits } from "../../src/data/jinja/interpreter.ts";
import { DataError } from "../../src/errors.ts";
import { cpuTime } from "../cpu-time.ts";
import { sharedRows, sharedText } from "../shared.ts";
import { chatml, qwen3Tokenizer, qwenTokenizer } from "./fixtures.ts";

const folder = "data/chat_template/templates/";
const templateFiles: Record<string, string> = {
  "Qwen2.5-7B-Instruct": "qwen2_5.jinja",
  "Qwen3-0.6B": "Qwen-Qwen3-0.6B.jinja",
  "Qwen3-Instruct-2507": "qwen3_instruct_2507.jinja",
};
const pieces = (template: string, messages: Message[], options = {}) => {
  const { text, spans } = renderAssistantSpans(template, messages, options);
  return spans.map(([start, end]) => text.slice(start, end));
};
const say = (...turns: string[]): Message[] =>
  turns.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

describe("renderChat against published renderings", () => {
  const samples = sharedRows("data/chat_template/golden.jsonl");
  it.skipIf(!samples)("agrees with Hugging Face's samples", () => {
    for (const row of samples!) {
      expect(renderChat(row.template, row.messages, { ...row.options, tools: row.tools }), row.name).toBe(row.expected);
    }
  });

  const published = sharedRows("data/chat_template/rendered.jsonl");
  it.skipIf(!published)("agrees with Python's jinja2, text and token ids", () => {
    let rendered = 0;
    for (const row of published!) {
      // The template of the QwQ rows is not among the data.
      if (row.name === "QwQ-32B") continue;
      const template = sharedText(folder + templateFiles[row.name])!;
      const label = `${row.name} ${row.case} ${JSON.stringify(row.options)}`;
      expect(renderChat(template, row.messages, { ...row.options, tools: row.tools }), label).toBe(row.expected);
      const tokenizer = row.name.startsWith("Qwen3") ? qwen3Tokenizer() : qwenTokenizer();
      if (row.ids) expect(tokenizer.encode(row.expected), label).toEqual(row.ids);
      rendered++;
    }
    expect(rendered).toBe(48);
  });
});

describe("renderChat", () => {
  it("renders a conversation and a generation prompt", () => {
    expect(renderChat(chatml, say("Hi"), { add_generation_prompt: true })).toBe(
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
  });

  it("strips only the given characters, as Python does", () => {
    const strip = (call: string, content: string) =>
      renderChat(`{{ messages[0].content.${call} }}`, [{ role: "user", content }]);
    expect(strip("lstrip('\\n')", "\n\n    def f():\n")).toBe("    def f():\n");
    expect(strip("rstrip('\\n')", " a \n\n")).toBe(" a ");
    expect(strip("strip('ab')", "abcab")).toBe("c");
    expect(strip("strip()", "\x1f\u3000 a\ufeff \n")).toBe("a\ufeff");
    expect(strip("strip('😀')", "😀a😀")).toBe("a");
    expect(strip("split('x')[-1].lstrip('\\n')", "1x\n 2")).toBe(" 2");
  });

  it("passes variables, and leaves unknown ones undefined", () => {
    const template =
      "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}|{{ bos_token }}|{{ eos_token }}";
    expect(renderChat(template, [], { enable_thinking: 3, eos_token: "E" })).toBe("3||E");
    expect(renderChat("{{ strftime_now('%Y') }}", [])).toBe(String(new Date().getFullYear()));
  });

  it("reports the template's own error, or its syntax error", () => {
    expect(() => renderChat("{{ raise_exception('roles must alternate') }}", say("a"))).toThrow(DataError);
    expect(() => renderChat("{{ raise_exception('roles must alternate') }}", say("a"))).toThrow(
      "Cannot render the chat template for roles [user]: roles must alternate",
    );
    expect(() => renderChat("{% if x %}", [])).toThrow(DataError);
    expect(() => renderChat("{{ 'a' + messages }", [])).toThrow(DataError);
    expect(() => renderChat("{{ 'a' + nothing }}", [])).toThrow(DataError);
  });
});

describe("a hostile template", () => {
  const stopped = (template: string) => {
    const spent = cpuTime();
    expect(() => renderChat(template, say("a"))).toThrow(DataError);
    expect(spent()).toBeLessThan(30);
  };

  it("cannot loop for years", () => {
    const time = templateLimits.time;
    templateLimits.time = 300;
    try {
      stopped(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
      );
    } finally {
      templateLimits.time = time;
    }
  });

  it.each([
    ["a long range", "{% for i in range(10 ** 15) %}{% endfor %}"],
    [
      "a doubling string",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    ],
    [
      "a doubling list",
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
    ["an endless recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"],
    ["deep nesting", `{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`],
  ])("cannot fill the memory or the stack with %s", (_, template) => stopped(template));

  it("refuses very long templates, and white space that stalls the lexer", () => {
    stopped("a".repeat(templateLimits.source + 1));
    stopped(" ".repeat(100_000));
  });

  it("cannot reach JavaScript", () => {
    expect(
      renderChat("{{ messages.constructor }}{{ ''.__proto__ }}{{ messages[0].constructor }}{{ globalThis }}", say("a")),
    ).toBe("");
  });
});

describe("renderAssistantSpans", () => {
  it("locates every assistant turn of a plain template", () => {
    const messages: Message[] = [{ role: "system", content: "S" }, ...say("a", "b", "c", "d")];
    expect(pieces(chatml, messages)).toEqual(["b<|im_end|>\n", "d<|im_end|>\n"]);
    expect(pieces(chatml, say("a"))).toEqual([]);
  });

  it("follows {% generation %} blocks", () => {
    const template =
      "{% for m in messages %}\n  {%- if m.role == 'assistant' %}\n[A]{% generation %}\n{{ m.content }}!{% endgeneration %}\n\n" +
      "  {%- else %}\n[U]{{ m.content }}\n  {%- endif %}\n{% endfor %}";
    const { text } = renderAssistantSpans(template, say("x", "y", "z", "w"));
    expect(text).toBe(renderChat(template, say("x", "y", "z", "w")));
    expect(pieces(template, say("x", "y", "z", "w"))).toEqual(["y!", "w!"]);
  });

  const qwen3Template = sharedText(`${folder}Qwen-Qwen3-0.6B.jinja`);

  it.skipIf(!qwen3Template)("agrees with TRL's training templates on Qwen2.5 and Qwen3", () => {
    const read = (name: string) => sharedText(folder + name)!;
    const tools = [{ type: "function", function: { name: "f", parameters: {} } }];
    const messages: Message[] = [
      ...say("1+1?", "2", "and f?"),
      {
        role: "assistant",
        content: "",
        tool_calls: [{ type: "function", function: { name: "f", arguments: { x: 1 } } }],
      },
      { role: "tool", content: "5" },
      { role: "assistant", content: "It is 5.\n" },
    ];
    const [plain, training] = [read("qwen2_5.jinja"), read("qwen2_5_training.jinja")];
    const ours = renderAssistantSpans(plain, messages, { tools });
    const theirs = renderAssistantSpans(training, messages, { tools });
    expect(theirs.text).toBe(ours.text);
    // TRL's block begins before the line feed of the header, which a generation prompt writes for the model.
    expect(theirs.spans).toEqual(ours.spans.map(([start, end]) => [start - 1, end]));
    expect(ours.spans).toHaveLength(3);
    const [plain3, training3] = [read("Qwen-Qwen3-0.6B.jinja"), read("qwen3_training.jinja")];
    const one = say("1+1?", "<think>\nhm\n</think>\n\n2");
    expect(renderAssistantSpans(plain3, one)).toEqual(renderAssistantSpans(training3, one));
    expect(pieces(plain3, one)).toEqual(["<think>\nhm\n</think>\n\n2<|im_end|>\n"]);
  });

  it.skipIf(!qwen3Template)("follows Qwen3, which drops the thinking of earlier turns", () => {
    const turns = say("a", "<think>\nhm\n</think>\n\n<b>", "c", "<think>\nso\n</think>\n\n  d");
    expect(pieces(qwen3Template!, turns)).toEqual(["<b><|im_end|>\n", "<think>\nso\n</think>\n\n  d<|im_end|>\n"]);
  });

  it("refuses a template that cannot be rendered turn by turn, with the reason", () => {
    const counting = `{{ messages|length }}${chatml}`;
    expect(() => renderAssistantSpans(counting, say("a", "b", "c"))).toThrow(DataError);
    expect(() => renderAssistantSpans(counting, say("a", "b", "c"))).toThrow(
      /assistant turn 2 of 3: .* differ after 0 of/,
    );
    const rewriting =
      "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last else m.content|upper }}[end]{% endfor %}" +
      "{% if add_generation_prompt %}[assistant]{% endif %}";
    expect(() => renderAssistantSpans(rewriting, say("A", "b", "C"))).toThrow(/end of assistant turn 2 of 3/);
    const altered = `{% filter upper %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{% endfilter %}`;
    expect(pieces(altered, say("a", "b"))).toEqual(["A", "B"]);
  });
});
