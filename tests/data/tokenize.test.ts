import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type TokenizeOptions, tokenizeDataset, tokenizeRow } from "../../src/data/tokenize.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { AbortError, DataError } from "../../src/errors.ts";
import { GOLDEN, sharedRows, sharedText } from "../shared.ts";
import { chatml, qwen3Tokenizer, qwenTokenizer, tinyTokenizerFiles } from "./fixtures.ts";

const tiny = loadTokenizer(tinyTokenizerFiles());
const tokenize = (row: Record<string, unknown>, options: Partial<TokenizeOptions> = {}) =>
  tokenizeRow({ row, number: 3, file: "d.jsonl" }, { tokenizer: tiny, ...options });
/** The text of the labelled tokens, in runs. */
const labelled = (made: { input_ids: number[]; labels: number[] }, tokenizer = tiny) => {
  const runs: number[][] = [];
  for (const [i, label] of made.labels.entries()) {
    if (label === -100) continue;
    expect(label).toBe(made.input_ids[i]);
    if (i > 0 && made.labels[i - 1] !== -100) runs.at(-1)!.push(label);
    else runs.push([label]);
  }
  return runs.map((run) => tokenizer.decode(run));
};
const say = (...turns: string[]) => turns.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

describe("tokenizeRow labels", () => {
  it("all of a plain text, ended by EOS once", () => {
    const made = tokenize({ text: "abc" });
    expect(made.input_ids).toEqual([96, tiny.tokenIds("c"), 100]);
    expect(made.labels).toEqual(made.input_ids);
    expect(tokenize({ text: "abc<|im_end|>" }).input_ids).toEqual(made.input_ids);
    expect(tokenize({ text: "abc" }, { eos_token: "<|endoftext|>" }).input_ids.at(-1)).toBe(98);
  });

  it("the completion of prompt + completion, unless told otherwise", () => {
    const row = { prompt: "xy", completion: " z" };
    expect(labelled(tokenize(row))).toEqual([" z<|im_end|>"]);
    expect(labelled(tokenize(row, { completion_only_loss: true }))).toEqual([" z<|im_end|>"]);
    expect(labelled(tokenize(row, { completion_only_loss: false }))).toEqual(["xy z<|im_end|>"]);
    expect(tokenize(row).warning).toBeNull();
  });

  it("from the prompt's number of tokens on, with a warning, if a token spans both", () => {
    // "xa" is two tokens, and "xab" two as well: the merge swallows the boundary.
    const made = tokenize({ prompt: "xa", completion: "bc" });
    expect(tiny.decode(made.input_ids)).toBe("xabc<|im_end|>");
    expect(labelled(made)).toEqual(["c<|im_end|>"]);
    expect(made.warning).toMatch(/^d.jsonl, row 3: the prompt alone is not the start .* differ at token 2 of 2/);
  });

  it("the assistant's completion of a chat prompt", () => {
    const row = { prompt: say("q"), completion: [{ role: "assistant", content: "w" }] };
    const made = tokenize(row);
    expect(labelled(made)).toEqual(["w<|im_end|>\n"]);
    expect(tiny.decode(made.input_ids)).toBe("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nw<|im_end|>\n");
    expect(labelled(tokenize(row, { completion_only_loss: false }))).toEqual([tiny.decode(made.input_ids)]);
  });

  it("all of a conversation, or only the assistant's text", () => {
    const row = { messages: say("a", "b", "c", "d") };
    const all = tokenize(row);
    expect(all.labels).toEqual(all.input_ids);
    expect(labelled(tokenize(row, { assistant_only_loss: true }))).toEqual(["b<|im_end|>\n", "d<|im_end|>\n"]);
  });

  it("both masks together: assistant turns of the completion", () => {
    const row = { prompt: say("a", "b", "c"), completion: [{ role: "assistant", content: "d" }, ...say("e", "f")] };
    expect(labelled(tokenize(row, { assistant_only_loss: true }))).toEqual(["d<|im_end|>\n", "f<|im_end|>\n"]);
    expect(labelled(tokenize(row, { assistant_only_loss: true, completion_only_loss: false }))).toEqual([
      "b<|im_end|>\n",
      "d<|im_end|>\n",
      "f<|im_end|>\n",
    ]);
    expect(labelled(tokenize(row))).toHaveLength(1);
  });

  it("a token that straddles the start of a turn, as transformers does", () => {
    // The header's line feed and the answer's are one token.
    const made = tokenize({ messages: say("a", "\nb") }, { assistant_only_loss: true });
    expect(made.input_ids).toContain(97);
    expect(labelled(made)).toEqual(["\n\nb<|im_end|>\n"]);
  });

  it("pre-tokenised rows unchanged", () => {
    expect(tokenize({ input_ids: [1, 2, 3], labels: [-100, 2, -100] }, { tokenizer: null })).toEqual({
      input_ids: [1, 2, 3],
      labels: [-100, 2, -100],
      warning: null,
      notes: [],
    });
    expect(tokenize({ input_ids: [1, 2] }, { tokenizer: null }).labels).toEqual([1, 2]);
    const masked = { input_ids: [1, 2, 3], completion_mask: [0, 1, 1], assistant_masks: [1, 1, 0] };
    expect(tokenize(masked).labels).toEqual([-100, 2, -100]);
    expect(tokenize(masked, { completion_only_loss: false }).labels).toEqual([1, 2, -100]);
  });

  it("through truncation at either end", () => {
    const row = { input_ids: [1, 2, 3, 4], labels: [-100, -100, 3, 4] };
    const cut = (truncation_mode?: "keep_start" | "keep_end") => tokenize(row, { max_length: 3, truncation_mode });
    expect(cut()).toMatchObject({ input_ids: [1, 2, 3], labels: [-100, -100, 3] });
    expect(cut("keep_end")).toMatchObject({ input_ids: [2, 3, 4], labels: [-100, 3, 4] });
    expect(tokenize(row, { max_length: 4 }).input_ids).toHaveLength(4);
    expect(tokenize(row, { max_length: null }).input_ids).toHaveLength(4);
  });

  it("with the template and its variables from the options, the row's own first", () => {
    const template = `{{ greeting }}${chatml}`;
    const row = { messages: say("a", "b"), chat_template_kwargs: { greeting: "x" } };
    const made = tokenize(row, { chat_template: template, chat_template_kwargs: { greeting: "y" } });
    expect(tiny.decode(made.input_ids)).toMatch(/^x<\|im_start\|>/);
  });
});

describe("tokenizeRow refuses", () => {
  const noEos = loadTokenizer({ ...tinyTokenizerFiles(), tokenizerConfig: "{}" });
  it.each<[string, Record<string, unknown>, Partial<TokenizeOptions>, string]>([
    ["text without a tokenizer", { text: "a" }, { tokenizer: null }, "no tokenizer was loaded"],
    ["text without an EOS", { text: "a" }, { tokenizer: noEos }, "set eos_token"],
    ["a chat without a template", { messages: say("a", "b") }, { tokenizer: noEos }, "set chat_template_path"],
    ["completion_only_loss on text", { text: "a" }, { completion_only_loss: true }, "needs prompt and completion"],
    [
      "completion_only_loss on bare ids",
      { input_ids: [1] },
      { completion_only_loss: true },
      "needs labels or completion_mask",
    ],
    ["assistant_only_loss on text", { text: "a" }, { assistant_only_loss: true }, "needs a conversation"],
    [
      "assistant_only_loss on bare ids",
      { input_ids: [1] },
      { assistant_only_loss: true },
      "needs labels or assistant_masks",
    ],
    [
      "ids outside the model",
      { input_ids: [1, 9] },
      { vocab_size: 9 },
      "token id 9 is outside the model's vocabulary of 9",
    ],
    ["labels outside the model", { input_ids: [1], labels: [12] }, { vocab_size: 9 }, "token id 12 is outside"],
    [
      "what the template refuses",
      { messages: say("a", "b") },
      { chat_template: "{{ raise_exception('no') }}" },
      "Cannot render the chat template for roles [user, assistant]: no",
    ],
  ])("%s", (_, row, options, message) => {
    expect(() => tokenize(row, options)).toThrow(DataError);
    expect(() => tokenize(row, options)).toThrow(message);
    expect(() => tokenize(row, options)).toThrow(/^d.jsonl, row 3: /);
  });
});

describe("real tokenizers and rows", () => {
  const messages = [
    { role: "system", content: "Café 🙂." },
    ...say("1+1?", "  2", "né", "<think>\nso\n</think>\n\nyes 🙂"),
  ];

  it("labels the assistant's tokens of a Qwen2.5 conversation", () => {
    const qwen = tokenizeRow(
      { row: { messages }, number: 1, file: "f" },
      { tokenizer: qwenTokenizer(), assistant_only_loss: true },
    );
    expect(labelled(qwen, qwenTokenizer())).toEqual([
      "\n  2<|im_end|>\n",
      "\n<think>\nso\n</think>\n\nyes 🙂<|im_end|>\n",
    ]);
  });

  const chat_template = sharedText("data/chat_template/templates/Qwen-Qwen3-0.6B.jinja");
  it.skipIf(!chat_template)("labels the assistant's tokens of a Qwen3 conversation", () => {
    const options = {
      tokenizer: qwen3Tokenizer(),
      assistant_only_loss: true,
      chat_template: chat_template!,
    };
    const made = tokenizeRow({ row: { messages }, number: 1, file: "f" }, options);
    expect(labelled(made, qwen3Tokenizer())).toEqual([
      "<think>\n\n</think>\n\n  2<|im_end|>\n",
      "<think>\nso\n</think>\n\nyes 🙂<|im_end|>\n",
    ]);
  });

  const gsm8k = sharedRows("data/gsm8k/train.jsonl");
  it.skipIf(!gsm8k)("tokenises GSM8K: the answer and its end have labels", () => {
    for (const [i, row] of gsm8k!.slice(0, 100).entries()) {
      const made = tokenizeRow(
        { row, number: i + 1, file: "train.jsonl" },
        { tokenizer: qwenTokenizer(), vocab_size: 151936 },
      );
      expect(made.warning).toBeNull();
      expect(labelled(made, qwenTokenizer())).toEqual([`${row.answer}<|im_end|>\n`]);
      expect(qwenTokenizer().decode(made.input_ids)).toBe(
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n" +
          `<|im_start|>user\n${row.question}<|im_end|>\n<|im_start|>assistant\n${row.answer}<|im_end|>\n`,
      );
    }
  });

  it("passes TRL's pre-tokenised rows through", async () => {
    const rows = JSON.parse(readFileSync(join(GOLDEN, "sft/rows.json"), "utf8"));
    const source = rows.map((row: Record<string, unknown>, i: number) => ({ row, number: i + 1, file: "rows.json" }));
    const made = await tokenizeDataset(source, { tokenizer: null, max_length: 1024 });
    const plain = made.rows.map(({ input_ids, labels }) => ({
      input_ids: Array.from(input_ids),
      labels: Array.from(labels),
    }));
    expect(plain).toEqual(rows.map(({ input_ids, labels }: Record<string, number[]>) => ({ input_ids, labels })));
    expect(made.dropped).toBe(0);
  });
});

describe("tokenizeDataset", () => {
  const source = (...rows: Record<string, unknown>[]) =>
    rows.map((row, i) => ({ row, number: i + 1, file: "d.jsonl" }));

  it("drops and counts rows that truncation leaves without a label", async () => {
    const made = await tokenizeDataset(
      source({ prompt: "xyz", completion: "w" }, { prompt: "x", completion: "w" }, { input_ids: [5], labels: [5] }),
      { tokenizer: tiny, max_length: 3 },
    );
    expect(made).toMatchObject({ dropped: 2, truncated: 2, num_tokens: 3, num_labels: 2 });
    expect(made.rows).toHaveLength(1);
    expect(made.warnings).toEqual(["2 of 3 rows left out: no token has a label within max_length 3"]);
  });

  it("keeps a few warnings and counts the rest", async () => {
    const made = await tokenizeDataset(source(...Array(9).fill({ prompt: "xa", completion: "bc" })), {
      tokenizer: tiny,
    });
    expect(made.warnings).toHaveLength(4);
    expect(made.warnings[3]).toMatch(/^6 more rows/);
  });

  it("refuses a data set with nothing to learn", async () => {
    await expect(tokenizeDataset([], { tokenizer: tiny })).rejects.toThrow("The data set has no rows");
    const rows = source({ prompt: "xyz", completion: "w" });
    await expect(tokenizeDataset(rows, { tokenizer: tiny, max_length: 3 })).rejects.toThrow(
      "none of the 1 rows has a label",
    );
    await expect(tokenizeDataset(rows, { tokenizer: tiny, max_length: 0 })).rejects.toThrow(
      "max_length must be at least 2",
    );
  });

  it("stops at the first bad row, and when told to", async () => {
    await expect(tokenizeDataset(source({ text: "a" }, { prompt: "a" }), { tokenizer: tiny })).rejects.toThrow(
      /^d.jsonl, row 2: /,
    );
    const signal = AbortSignal.abort();
    await expect(tokenizeDataset(source({ text: "a" }), { tokenizer: tiny, signal })).rejects.toThrow(AbortError);
  });
});
