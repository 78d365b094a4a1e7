import { describe, expect, it } from "vitest";
import { tinyTokenizer } from "../../scripts/tiny-files.ts";
import { trainBpe } from "../../scripts/train-bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";

describe("training of BPE merges", () => {
  it("merges the most common pair first (of equals, the first in order), never across words", () => {
    // pairs: "a b" 3 + 1, "Ġ a" 3, "b c" 1, "x y" 2, "y z" 2
    const { merges } = trainBpe(["ab ab ab abc xyz xyz"], 300, 2);
    expect(merges[0]).toBe("a b");
    expect(merges.indexOf("Ġ ab")).toBe(1);
    expect(merges).toContain("Ġ xyz");
    expect(merges.some((merge) => merge.includes("bĠ") || merge.endsWith(" c"))).toBe(false);
  });

  it("stops at the requested size, and includes every byte", () => {
    const { vocab, merges } = trainBpe(["the cat and the hat and the bat"], 260, 1);
    expect(vocab).toHaveLength(260);
    expect(merges).toHaveLength(4);
    expect(new Set(vocab).size).toBe(260);
  });
});

describe("the embedded model's tokenizer", () => {
  const text = "There are 12 apples.\n<reasoning>\n5*7=35\n</reasoning>\n<answer>\n35\n</answer>\n";
  const { files, vocab_size } = tinyTokenizer(Array(10).fill(text), 320, 2);
  const tokenizer = loadTokenizer({
    tokenizerJson: files["tokenizer.json"],
    tokenizerConfig: files["tokenizer_config.json"],
    generationConfig: files["generation_config.json"],
  });

  it("encodes any text and decodes it again", () => {
    for (const sample of [text, "héllo 你好 🙂 don't\t\r\n  x", "\u0000\u007f§"]) {
      expect(tokenizer.decode(tokenizer.encode(sample))).toBe(sample);
    }
  });

  it("has words as one token and digits one by one", () => {
    const pieces = (part: string) => tokenizer.encode(part).map((id) => tokenizer.decode([id]));
    expect(pieces("<reasoning>\n")).toEqual(["<reasoning", ">\n"]);
    expect(pieces("</answer>\n")).toEqual(["</", "answer", ">\n"]);
    expect(pieces("35")).toEqual(["3", "5"]);
  });

  it("has Qwen's special tokens last, and ends a turn with <|im_end|>", () => {
    expect(tokenizer.encode("<|im_start|>user\nx<|im_end|>")[0]).toBe(vocab_size - 2);
    expect(tokenizer.eos_token).toBe("<|im_end|>");
    expect(tokenizer.stop_token_ids).toEqual([vocab_size - 3, vocab_size - 1]);
    expect(tokenizer.vocab_size).toBe(vocab_size);
  });
});
