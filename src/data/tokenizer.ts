import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { FormatError } from "../errors.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { isObject } from "../text/json.ts";
import { messageOf, show } from "../text/show.ts";
import { checkStages } from "./tokenizer-limits.ts";

/** The contents of a tokenizer's files, under Hugging Face's names. */
interface TokenizerFiles {
  /** `tokenizer.json` */
  tokenizerJson: string;
  /** `tokenizer_config.json`: special tokens, often the chat template */
  tokenizerConfig?: string;
  /** `chat_template.jinja`; overrides a template in `tokenizer_config.json`, as in transformers */
  chatTemplate?: string;
  /** `generation_config.json`: further ids that end a completion */
  generationConfig?: string;
  /** `config.json`: special token ids when `tokenizer_config.json` names none */
  config?: string;
}

/** Text to token ids and back, with the special tokens and the chat template of one checkpoint. */
export interface Tokenizer {
  /**
   * Token ids of `text`. Special tokens written in the text are recognised.
   * `add_special_tokens` (default false) also adds the checkpoint's special tokens around plain text, such as BOS.
   */
  encode(text: string, options?: { add_special_tokens?: boolean }): number[];
  /**
   * Ids, and for each id the end of its bytes in the UTF-8 of `normalize(text)`, to map characters to tokens. Null if
   * the tokenizer is not byte-level, so that the mapping is not exact.
   */
  encodeWithByteEnds(text: string): { ids: number[]; byteEnds: number[] } | null;
  /** The text as the model sees it: Unicode-normalised if tokenizer.json requires it. */
  normalize(text: string): string;
  /** Text of `ids`; ids outside the vocabulary (padding rows of an embedding) are left out. */
  decode(ids: ArrayLike<number>, options?: { skip_special_tokens?: boolean }): string;
  /** The bytes that a token adds to a text, special tokens' too; none for an id outside the vocabulary. */
  bytesOf(id: number): Uint8Array;
  /** The bytes of a token; null for a special or added token, an unknown id, or a tokenizer that is not byte-level. */
  tokenBytes(id: number): Uint8Array | null;
  eos_token: string | null;
  eos_token_id: number | null;
  pad_token: string | null;
  pad_token_id: number | null;
  bos_token: string | null;
  bos_token_id: number | null;
  /** ids that end a completion: `eos_token_id` and those of generation_config.json */
  stop_token_ids: number[];
  /** one past the largest id; the model's embedding may have more rows */
  vocab_size: number;
  chat_template: string | null;
  /** The id of a token by its exact text, such as `<|im_end|>`, or null if it is not one token. */
  tokenIds(name: string): number | null;
}

type Json = Record<string, unknown>;

// The largest published vocabularies have about 260 000 entries; a far larger id would allocate a huge lookup array.
const maxTokenId = 1 << 24;

/**
 * Builds the tokenizer of a checkpoint from the text of its files.
 *
 * @throws {FormatError} a file that is not JSON, or has unexpected content; the message names the file
 * @see https://huggingface.co/docs/tokenizers (tokenizer.json)
 */
export function loadTokenizer(files: TokenizerFiles): Tokenizer {
  const json = parseObject(files.tokenizerJson, "tokenizer.json");
  const config = parseObject(files.tokenizerConfig ?? "{}", "tokenizer_config.json");
  const generation = parseObject(files.generationConfig ?? "{}", "generation_config.json");
  const modelConfig = parseObject(files.config ?? "{}", "config.json");
  const vocab_size = checkVocabulary(json);
  checkStages(json);

  let inner: HfTokenizer;
  try {
    inner = new HfTokenizer({ normalizer: null, pre_tokenizer: null, post_processor: null, ...json }, config);
  } catch (error) {
    throw new FormatError(`Cannot build a tokenizer from tokenizer.json: ${messageOf(error)}`);
  }

  const added = new Map<number, string>();
  for (const token of json.added_tokens as { id: number; content: string }[]) added.set(token.id, token.content);
  const idOf = (token: string | null): number | null => (token === null ? null : (inner.token_to_id(token) ?? null));
  const special = (name: "eos" | "bos" | "pad"): { token: string | null; id: number | null } => {
    const named = tokenText(config[`${name}_token`]);
    // null means none, even if config.json names one
    if (config[`${name}_token`] === null) return { token: null, id: null };
    if (named !== null) return { token: named, id: idOf(named) };
    const id = idList(modelConfig[`${name}_token_id`])[0] ?? idList(generation[`${name}_token_id`])[0];
    return id === undefined ? { token: null, id: null } : { token: inner.id_to_token(id) ?? null, id };
  };
  const eos = special("eos");
  const bos = special("bos");
  const pad = special("pad");
  const stop = new Set(idList(generation.eos_token_id));
  if (eos.id !== null) stop.add(eos.id);
  else for (const id of idList(modelConfig.eos_token_id)) stop.add(id);

  const byteLevel = mentions(json.decoder, "ByteLevel");
  const normalize = (text: string): string => (inner.normalizer ? (inner.normalizer(text) as string) : text);
  const cleanUp = config.clean_up_tokenization_spaces === true;
  const utf8 = new TextEncoder();

  // Added tokens split a text into sections that are encoded separately. A row is encoded as prompt and as prompt +
  // completion, which share all sections but the last: a cache halves the time.
  const separable = (json.added_tokens as Json[]).every((t) => !t.lstrip && !t.rstrip && !t.normalized);
  const sections = separable && byteLevel && added.size > 0 ? sectionPattern([...added.values()]) : null;
  const remembered = new Map<string, number[]>();
  const encodePiece = (piece: string, add_special_tokens: boolean): number[] => {
    if (piece === "") return [];
    const known = add_special_tokens ? undefined : remembered.get(piece);
    if (known) return known;
    const ids: (number | undefined)[] = inner.encode(piece, { add_special_tokens }).ids;
    if (ids.some((id) => id === undefined)) {
      throw new FormatError(`tokenizer.json has neither a token nor an unknown token for part of ${show(piece)}`);
    }
    if (sections && !add_special_tokens && piece.length < 65536) {
      if (remembered.size >= 64) remembered.delete(remembered.keys().next().value as string);
      remembered.set(piece, ids as number[]);
    }
    return ids as number[];
  };

  const encode = (text: string, options: { add_special_tokens?: boolean } = {}): number[] => {
    if (text === "") return [];
    const add_special_tokens = options.add_special_tokens ?? false;
    const pieces = sections && !add_special_tokens ? text.split(sections) : [text];
    const out: number[] = [];
    for (const piece of pieces) for (const id of encodePiece(piece, add_special_tokens)) out.push(id);
    if (add_special_tokens) {
      // Llama-style tokenizers (DeepSeek-R1-Distill) keep these two switches outside tokenizer.json.
      if (config.add_bos_token === true && bos.id !== null && out[0] !== bos.id) out.unshift(bos.id);
      if (config.add_eos_token === true && eos.id !== null && out.at(-1) !== eos.id) out.push(eos.id);
    }
    return out;
  };

  return {
    encode,
    encodeWithByteEnds(text) {
      const ids = encode(text);
      if (!byteLevel) return null;
      const byteEnds = new Array<number>(ids.length);
      let end = 0;
      for (const [i, id] of ids.entries()) {
        const content = added.get(id);
        // A byte-level token is written with one character per byte.
        end += content === undefined ? (inner.id_to_token(id) ?? "").length : utf8.encode(content).length;
        byteEnds[i] = end;
      }
      return end === utf8.encode(normalize(text)).length ? { ids, byteEnds } : null;
    },
    normalize,
    decode(ids, options = {}) {
      const known = Array.from(ids).filter((id) => inner.id_to_token(id) !== undefined);
      if (known.length === 0) return "";
      const skip_special_tokens = options.skip_special_tokens ?? false;
      return inner.decode(known, { skip_special_tokens, clean_up_tokenization_spaces: cleanUp });
    },
    bytesOf(id) {
      const content = added.get(id) ?? inner.id_to_token(id);
      if (content === undefined) return new Uint8Array(0);
      if (added.has(id)) return utf8.encode(content);
      const bytes = byteLevel ? bytesOfSymbols(content) : null;
      if (bytes) return bytes;
      // decoders may drop a space at the beginning of a text
      const base = encode("abcdef");
      const decoded = (ids: number[]) => inner.decode(ids, { skip_special_tokens: false });
      return utf8.encode(decoded([...base, id]).slice(decoded(base).length));
    },
    tokenBytes: (id) => (byteLevel && !added.has(id) ? bytesOfSymbols(inner.id_to_token(id)) : null),
    eos_token: eos.token,
    eos_token_id: eos.id,
    bos_token: bos.token,
    bos_token_id: bos.id,
    pad_token: pad.token ?? eos.token,
    pad_token_id: pad.id ?? eos.id,
    stop_token_ids: [...stop].sort((a, b) => a - b),
    vocab_size,
    chat_template: pickTemplate(files.chatTemplate, config.chat_template),
    tokenIds: (name) => idOf(name),
  };
}

/** Byte-level BPE writes printable bytes as themselves, and the others as the characters from U+0100 on. */
const BYTE_SYMBOLS: ReadonlyMap<string, number> = (() => {
  const plain = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let other = 256;
  return new Map(Array.from({ length: 256 }, (_, b) => [String.fromCodePoint(plain(b) ? b : other++), b]));
})();

function bytesOfSymbols(symbols: string | undefined): Uint8Array | null {
  if (symbols === undefined) return null;
  const bytes = Array.from(symbols, (symbol) => BYTE_SYMBOLS.get(symbol) ?? -1);
  return bytes.includes(-1) ? null : Uint8Array.from(bytes);
}

/** Checks the ids of vocabulary and added tokens; returns one past the largest. */
function checkVocabulary(json: Json): number {
  const model = json.model;
  if (!isObject(model)) throw new FormatError('tokenizer.json has no "model" object');
  // Older files omit the type; the library would treat any other name as a plain word list.
  if (model.type !== undefined && !["BPE", "WordPiece", "Unigram"].includes(String(model.type))) {
    throw new FormatError(`tokenizer.json: "model.type" must be BPE, WordPiece or Unigram, not ${model.type}`);
  }
  const vocab = model.vocab;
  if (typeof vocab !== "object" || vocab === null) throw new FormatError('tokenizer.json has no "model.vocab"');
  let largest = -1;
  const check = (id: unknown, token: string): void => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > maxTokenId) {
      throw new FormatError(`tokenizer.json: id of ${show(token)} must be an integer in [0, ${maxTokenId}], not ${id}`);
    }
    if (id > largest) largest = id;
  };
  if (Array.isArray(vocab)) largest = vocab.length - 1;
  else for (const token of Object.keys(vocab)) check((vocab as Json)[token], token);
  json.added_tokens ??= [];
  if (!Array.isArray(json.added_tokens)) throw new FormatError('tokenizer.json: "added_tokens" must be a list');
  for (const token of json.added_tokens as unknown[]) {
    if (!isObject(token) || typeof token.content !== "string") {
      throw new FormatError(`tokenizer.json: an added token must be {id, content}, not ${show(token)}`);
    }
    check(token.id, token.content);
  }
  if (largest < 0) throw new FormatError("tokenizer.json: the vocabulary is empty");
  return largest + 1;
}

/** Matches any of the added tokens (the longest of several), and keeps them in a split. */
function sectionPattern(contents: string[]): RegExp {
  const escaped = contents.filter(Boolean).map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return new RegExp(`(${escaped.sort((a, b) => b.length - a.length).join("|")})`);
}

function pickTemplate(file: string | undefined, inConfig: unknown): string | null {
  if (file !== undefined) return file;
  if (typeof inConfig === "string") return inConfig;
  if (inConfig === undefined || inConfig === null) return null;
  if (Array.isArray(inConfig)) {
    const named = inConfig.filter((t): t is Json => isObject(t) && typeof t.template === "string");
    const chosen = named.find((t) => t.name === "default") ?? named[0];
    if (chosen) return chosen.template as string;
  }
  throw new FormatError('tokenizer_config.json: "chat_template" must be a string or a list of {name, template}');
}

function parseObject(text: string, file: string): Json {
  let value: unknown;
  try {
    value = parseBoundedJson(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch (error) {
    throw new FormatError(`${file} is not JSON: ${messageOf(error)}`);
  }
  if (!isObject(value)) throw new FormatError(`${file} must contain a JSON object, not ${show(text)}`);
  return value;
}

/** A special token is a string or `{content}`: published files have both. */
function tokenText(value: unknown): string | null {
  if (typeof value === "string") return value;
  return isObject(value) && typeof value.content === "string" ? value.content : null;
}

function idList(value: unknown): number[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((id): id is number => typeof id === "number" && Number.isInteger(id) && id >= 0);
}

function mentions(value: unknown, type: string): boolean {
  if (!isObject(value)) return false;
  return value.type === type || (Array.isArray(value.decoders) && value.decoders.some((d) => mentions(d, type)));
}
