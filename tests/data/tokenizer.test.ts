import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { FormatError } from "../../src/errors.ts";
import { sharedRows } from "../shared.ts";
import { qwenTokenizer, tinyTokenizerFiles } from "./fixtures.ts";

describe("the real Qwen2.5 tokenizer", () => {
  const rows = sharedRows("data/tokenizer/golden_encode.jsonl");
  it.skipIf(!rows)("encodes, decodes and locates the published samples", () => {
    expect(rows).toHaveLength(40);
    const tokenizer = qwenTokenizer();
    for (const row of rows!) {
      expect(tokenizer.encode(row.text), row.name).toEqual(row.ids);
      if (row.decoded !== undefined) expect(tokenizer.decode(row.ids), row.name).toBe(row.decoded);
      const located = tokenizer.encodeWithByteEnds(row.text);
      expect(located?.ids, row.name).toEqual(row.ids);
      expect(located?.byteEnds.at(-1) ?? 0).toBe(new TextEncoder().encode(row.text.normalize("NFC")).length);
    }
  });

  it("knows its special tokens", () => {
    const tokenizer = qwenTokenizer();
    expect(tokenizer).toMatchObject({
      eos_token: "<|im_end|>",
      eos_token_id: 151645,
      pad_token: "<|endoftext|>",
      pad_token_id: 151643,
      bos_token: null,
      bos_token_id: null,
      vocab_size: 151665,
      stop_token_ids: [151645],
    });
    expect(tokenizer.tokenIds("<|im_start|>")).toBe(151644);
    expect(tokenizer.tokenIds("no such token")).toBeNull();
    expect(tokenizer.chat_template).toContain("<|im_start|>");
    expect(tokenizer.encode("<|im_start|>user\nHi<|im_end|>")).toEqual([151644, 872, 198, 13048, 151645]);
    expect(tokenizer.encode("")).toEqual([]);
  });

  it("decodes with and without special tokens, and ignores ids outside the vocabulary", () => {
    const tokenizer = qwenTokenizer();
    const ids = [151644, 872, 198, 13048, 151645, 151900];
    expect(tokenizer.decode(ids)).toBe("<|im_start|>user\nHi<|im_end|>");
    expect(tokenizer.decode(Int32Array.from(ids), { skip_special_tokens: true })).toBe("user\nHi");
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([151900])).toBe("");
  });
});

describe("loadTokenizer", () => {
  const files = tinyTokenizerFiles();

  it("takes stop tokens from generation_config.json and special tokens from config.json", () => {
    const tokenizer = loadTokenizer({
      tokenizerJson: files.tokenizerJson,
      generationConfig: JSON.stringify({ eos_token_id: [100, 98] }),
      config: JSON.stringify({ eos_token_id: 100, bos_token_id: 98 }),
    });
    expect(tokenizer).toMatchObject({ eos_token: "<|im_end|>", bos_token_id: 98, stop_token_ids: [98, 100] });
    expect(tokenizer.chat_template).toBeNull();
  });

  it("finds the chat template in every place", () => {
    const list = [
      { name: "tool_use", template: "T" },
      { name: "default", template: "D" },
    ];
    const withConfig = (config: unknown) => ({ ...files, tokenizerConfig: JSON.stringify(config) });
    expect(loadTokenizer(withConfig({ chat_template: "S" })).chat_template).toBe("S");
    expect(loadTokenizer(withConfig({ chat_template: list })).chat_template).toBe("D");
    expect(loadTokenizer({ ...withConfig({ chat_template: "S" }), chatTemplate: "J" }).chat_template).toBe("J");
    expect(() => loadTokenizer(withConfig({ chat_template: 7 }))).toThrow(/tokenizer_config.json: "chat_template"/);
  });

  it("adds a BOS only on request", () => {
    const tokenizer = loadTokenizer({
      ...files,
      tokenizerConfig: JSON.stringify({ bos_token: "<|endoftext|>", add_bos_token: true }),
    });
    expect(tokenizer.encode("ab")).toEqual([96]);
    expect(tokenizer.encode("ab", { add_special_tokens: true })).toEqual([98, 96]);
  });

  it("normalises as tokenizer.json requires, and keeps the offsets exact", () => {
    const accented = qwenTokenizer();
    const decomposed = "Cafe\u0301 au lait";
    expect(accented.encode(decomposed)).toEqual(accented.encode("Café au lait"));
    expect(accented.encodeWithByteEnds(decomposed)?.byteEnds.at(-1)).toBe(13);
  });

  it.each([
    ["{", "tokenizer.json is not JSON"],
    ["[]", "tokenizer.json must contain a JSON object"],
    ["{}", 'tokenizer.json has no "model"'],
    ['{"model":{}}', 'no "model.vocab"'],
    ['{"model":{"vocab":{"a":-1}}}', 'id of "a" must be an integer'],
    ['{"model":{"vocab":{"a":1e15}}}', 'id of "a" must be an integer'],
    ['{"model":{"vocab":{}}}', "the vocabulary is empty"],
    ['{"model":{"type":"Nope","vocab":{"a":0}}}', '"model.type" must be BPE'],
    ['{"model":{"type":"BPE","vocab":{"a":0}},"decoder":null}', "Cannot build a tokenizer"],
    ['{"model":{"vocab":{"a":0}},"added_tokens":[{"id":1}]}', "an added token must be"],
  ])("refuses %s", (tokenizerJson, message) => {
    expect(() => loadTokenizer({ tokenizerJson })).toThrow(FormatError);
    expect(() => loadTokenizer({ tokenizerJson })).toThrow(message);
  });

  it("names the broken file", () => {
    expect(() => loadTokenizer({ ...files, tokenizerConfig: "nope" })).toThrow(/^tokenizer_config.json is not JSON/);
    expect(() => loadTokenizer({ ...files, generationConfig: "[1]" })).toThrow(/^generation_config.json must contain/);
    expect(() => loadTokenizer({ ...files, config: '"x"' })).toThrow(/^config.json must contain/);
  });
});

describe("a tokenizer.json that could run forever", () => {
  const made = (stage: string, value: unknown) => {
    const files = tinyTokenizerFiles();
    return () =>
      loadTokenizer({
        ...files,
        tokenizerJson: JSON.stringify({ ...JSON.parse(files.tokenizerJson), [stage]: value }),
      });
  };
  const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });

  it.each(["(a+)+$", "(a|a)*$", "(aa?)*b", "(?:a?){30}a{30}", "a*a*a*b", "((a{1,10}){1,10}){1,10}", "(.*a){20}"])(
    "is refused: %s",
    (pattern) => {
      expect(made("pre_tokenizer", split(pattern))).toThrow(FormatError);
      expect(made("pre_tokenizer", { type: "Sequence", pretokenizers: [split(pattern)] })).toThrow(
        `tokenizer.json: the pattern ${pattern} of its pre_tokenizer can run forever`,
      );
    },
  );

  it.each([
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{M}]*[\\p{Ll}\\p{M}]+(?i:'s|'t)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s+",
    "\\p{N}{1,3}(?=(?:\\p{N}{3})*\\b)",
  ])("is refused: %s", (pattern) => expect(made("pre_tokenizer", split(pattern))).not.toThrow());

  it("is refused for replacements that lengthen a text too much", () => {
    const grow = { type: "Replace", pattern: { String: "a" }, content: "aaaaaaaaaa" };
    expect(made("normalizer", { type: "Sequence", normalizers: [grow, grow, grow] })).toThrow(
      "tokenizer.json: the replacements of its normalizer make a text more than 64 times as long",
    );
    let deep: unknown = grow;
    for (let i = 0; i < 60; i++) deep = { type: "Sequence", normalizers: [deep] };
    expect(made("normalizer", deep)).toThrow("nests more than 50 deep");
  });
});
