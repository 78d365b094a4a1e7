import { FormatError, UnsupportedError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { GgufValue } from "./gguf.ts";

type Json = Record<string, unknown>;
type Entry = [string, GgufValue];

/** The parsed files of a tokenizer. */
interface GgufTokenizerFiles {
  /** tokenizer.json */
  tokenizer: Json;
  /** tokenizer_config.json, or {} */
  config: Json;
  /** config.json of the model */
  model: Json;
  chat_template: string | null;
}

/** llama.cpp's kinds of tokens. */
const KIND = { normal: 1, control: 3, user: 4, unused: 5 };

/** Pre-tokenizer patterns by llama.cpp's name: of Qwen2, 2.5 and 3, and of Qwen3.5, which keeps marks with their letters. */
const PATTERNS: Readonly<Record<string, string>> = {
  qwen2:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  qwen35:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};
const R1_BOS = "<｜begin▁of▁sentence｜>";

/**
 * The metadata of a byte-level BPE tokenizer of the Qwen family, as llama.cpp's converter writes it: `tokenizer.ggml.*`
 * and `tokenizer.chat_template`.
 *
 * @param vocab_size rows of the model's embedding; ids without a token are named `[PAD{id}]`, unused
 * @throws {UnsupportedError} a tokenizer that is not byte-level BPE, or splits text differently from Qwen's
 * @throws {FormatError} ids outside the model's vocabulary, or invalid merges
 */
export function ggufTokenizer(files: GgufTokenizerFiles, vocab_size: number): Entry[] {
  const { tokenizer, config, model, chat_template } = files;
  const bpe = (tokenizer.model ?? {}) as Json;
  if (bpe.type !== "BPE" || bpe.byte_fallback === true || !mentions(tokenizer.decoder, "ByteLevel")) {
    throw new UnsupportedError(
      `Cannot write the tokenizer to GGUF: tokenizer.json is ${show(bpe.type)}, but only byte-level BPE is supported`,
    );
  }
  const pre = patternName(tokenizer.pre_tokenizer);
  const added = (Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []) as AddedToken[];
  const tokens: string[] = [];
  const kinds = new Array<number>(vocab_size).fill(KIND.unused);
  const put = (id: number, text: string, kind: number) => {
    if (!(Number.isInteger(id) && id >= 0 && id < vocab_size)) {
      throw new FormatError(
        `Cannot write the tokenizer to GGUF: ${show(text)} has id ${id}, but the model has ${vocab_size} tokens`,
      );
    }
    tokens[id] = text;
    kinds[id] = kind;
  };
  for (const [text, id] of Object.entries((bpe.vocab ?? {}) as Record<string, number>)) put(id, text, KIND.normal);
  for (const { id, content, special } of added) {
    put(id, content, special || looksSpecial(content) ? KIND.control : KIND.user);
  }
  for (let id = 0; id < vocab_size; id++) tokens[id] ??= `[PAD${id}]`;

  const idOf = (kind: "bos" | "eos" | "pad"): number | null => {
    const text = textOf(config[`${kind}_token`]);
    const named = text === null ? undefined : added.find(({ content }) => content === text)?.id;
    const id = named ?? model[`${kind}_token_id`];
    return Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocab_size ? (id as number) : null;
  };
  const entries: Entry[] = [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: textOf(config.bos_token) === R1_BOS ? "deepseek-r1-qwen" : pre }],
    ["tokenizer.ggml.tokens", { type: "strings", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32s", value: kinds }],
    ["tokenizer.ggml.merges", { type: "strings", value: mergesOf(bpe.merges) }],
  ];
  for (const [kind, key] of [
    ["eos", "eos"],
    ["bos", "bos"],
    ["pad", "padding"],
  ] as const) {
    const id = idOf(kind);
    if (id !== null) entries.push([`tokenizer.ggml.${key}_token_id`, { type: "u32", value: id }]);
  }
  const bosFirst = config.add_bos_token === true || startsWithBos(tokenizer.post_processor, textOf(config.bos_token));
  entries.push(["tokenizer.ggml.add_bos_token", { type: "bool", value: bosFirst }]);
  if (typeof config.add_eos_token === "boolean") {
    entries.push(["tokenizer.ggml.add_eos_token", { type: "bool", value: config.add_eos_token }]);
  }
  if (chat_template !== null) entries.push(["tokenizer.chat_template", { type: "string", value: chat_template }]);
  return entries;
}

interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
}

/** llama.cpp selects pre-tokenizers by name: another pattern would give other tokens. */
function patternName(pre: unknown): string {
  const steps = ((pre as Json | null)?.pretokenizers ?? [pre]) as (Json | null)[];
  const patterns = steps.filter((step) => step?.type === "Split").map((step) => (step!.pattern as Json)?.Regex);
  const name = Object.keys(PATTERNS).find((each) => patterns.length === 1 && patterns[0] === PATTERNS[each]);
  if (!name) {
    throw new UnsupportedError(
      `Cannot write the tokenizer to GGUF: tokenizer.json splits text with ${show(patterns)}, but llama.cpp's qwen2 and qwen35 use Qwen's own patterns`,
    );
  }
  return name;
}

/** Pairs as "a b"; spaces inside a part become U+0120, as in llama.cpp. */
function mergesOf(merges: unknown): string[] {
  if (!Array.isArray(merges)) throw new FormatError("Cannot write the tokenizer to GGUF: tokenizer.json has no merges");
  return merges.map((merge: unknown) => {
    if (typeof merge === "string") return merge;
    if (Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === "string")) {
      return merge.map((part: string) => part.replaceAll(" ", "\u0120")).join(" ");
    }
    throw new FormatError(`Cannot write the tokenizer to GGUF: tokenizer.json has the invalid merge ${show(merge)}`);
  });
}

/** Some models mark control tokens as ordinary tokens. */
function looksSpecial(text: string): boolean {
  return /^<\|.*\|>$/s.test(text) || /^<｜.*｜>$/s.test(text) || text === "<pad>" || text === "<mask>";
}

function startsWithBos(post: unknown, bos: string | null): boolean {
  const steps = ((post as Json | null)?.processors ?? [post]) as (Json | null)[];
  return steps.some((step) => {
    const single = step?.type === "TemplateProcessing" ? (step.single as Json[] | undefined) : undefined;
    const first = single?.[0]?.SpecialToken as Json | undefined;
    return bos !== null && (single?.length ?? 0) > 1 && first?.id === bos;
  });
}

/** A special token is a string or `{content}`: published files have both. */
function textOf(value: unknown): string | null {
  const text = typeof value === "object" && value !== null ? (value as Json).content : value;
  return typeof text === "string" ? text : null;
}

function mentions(value: unknown, type: string): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { type: own, decoders } = value as Json;
  return own === type || (Array.isArray(decoders) && decoders.some((decoder) => mentions(decoder, type)));
}
