import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { tokenizeRow } from "../../src/data/tokenize.ts";
import { trainingTemplate } from "../../src/data/training-template.ts";
import { parsePythonJson } from "../../src/text/python-json.ts";
import { sharedText } from "../shared.ts";
import { chatml, qwenTokenizer } from "./fixtures.ts";

interface Case {
  template: string;
  messages: unknown[];
  tools: unknown[] | null;
  input_ids: number[];
  assistant: [number, number][];
}

const trl = parsePythonJson(readFileSync(`${import.meta.dirname}/cases/labels.json`, "utf8")) as {
  templates: Record<string, string>;
  cases: Case[];
};

describe("assistant_only_loss trains with TRL's templates", () => {
  it.each(trl.cases.map((row, i) => [row.template, i] as const))("%s, case %i", (name, i) => {
    const { messages, tools, input_ids, assistant } = trl.cases[i];
    const made = tokenizeRow(
      { row: { messages, tools }, number: 1, file: "train.jsonl" },
      {
        tokenizer: qwenTokenizer(),
        chat_template: trl.templates[name],
        chat_template_kwargs: { bos_token: "<|endoftext|>" },
        assistant_only_loss: true,
      },
    );
    expect(made.input_ids).toEqual(input_ids);
    expect(made.labels).toEqual(
      input_ids.map((id, t) => (assistant.some(([start, end]) => t >= start && t < end) ? id : -100)),
    );
  });

  it("does not change other templates, or templates with their own marks", () => {
    expect(trainingTemplate(chatml)).toBe(chatml);
    const marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    expect(trainingTemplate(marked)).toBe(marked);
    const windows = trl.templates.qwen3.replaceAll("\n", "\r\n");
    expect(trainingTemplate(windows)).toBe(trainingTemplate(trl.templates.qwen3));
  });

  const labels = sharedText("cases/labels/qwen2_5_assistant_only.json");
  it.skipIf(labels === null)("agrees with TRL on Qwen2.5, for every setting", () => {
    const settings = parsePythonJson(labels!) as Record<
      string,
      { args: object; rows: Record<string, unknown>[]; want: { input_ids: number[]; labels: number[] }[] }
    >;
    let checked = 0;
    for (const [name, { args, rows, want }] of Object.entries(settings)) {
      for (const [i, { input_ids, labels: wanted }] of want.entries()) {
        const options = { tokenizer: qwenTokenizer(), chat_template: trl.templates.qwen2_5, eos_token: "<|im_end|>" };
        const made = tokenizeRow({ row: rows[i], number: 1, file: "train.jsonl" }, { ...options, ...args });
        expect([made.input_ids, made.labels], `${name} ${i}`).toEqual([input_ids, wanted]);
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(10);
  });
});
