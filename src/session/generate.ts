import { type Message, renderChat } from "../data/chat-template.ts";
import { imageCounts, repeated } from "../data/images/tokens.ts";
import { encodePrompt, type PromptRow } from "../data/prompts.ts";
import { type NumberedRow, rowError } from "../data/rows.ts";
import { StopStrings } from "../data/stop-strings.ts";
import { TextStream } from "../data/text-stream.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError, MemoryError, NotFoundError } from "../errors.ts";
import type { ActivationStorage } from "../gpu/context.ts";
import type { Gpu } from "../gpu/device.ts";
import { fakeGpu } from "../gpu/fake-device.ts";
import type { Kernel } from "../gpu/program.ts";
import { type Checkpoint, readJson } from "../io/checkpoint.ts";
import { type LoadedAdapter, loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
import { buildModel } from "../model/build.ts";
import type { ModelConfig } from "../model/config.ts";
import { type LoadDType, loadModel, openAdapterFor, type Quantization, weightDTypes } from "../model/files/load.ts";
import { openModel } from "../model/files/open.ts";
import { type GenerationDefaults, parseGenerationConfig, samplingOf } from "../model/generate/config.ts";
import { recordGeneration } from "../model/generate/foresee.ts";
import { type Generation, generateStream, type SamplingOptions } from "../model/generate/generate.ts";
import type { Transformer } from "../model/transformer.ts";
import type { SeenImages } from "../model/vision/images.ts";
import { formatBytes } from "../text/bytes.ts";
import { shallow } from "../train/forecast/memory.ts";
import { slotsFor } from "../train/grpo/rollout.ts";
import { mixSeed } from "../train/seed.ts";
import { compiling, type RunSources } from "./open.ts";
import { eosIds, openTokenizer } from "./tokenizer.ts";

export { dropAdapter, type LoadedAdapter, loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
export { type GenerationDefaults, samplingOf } from "../model/generate/config.ts";

/** Where a text model comes from. */
export interface TextSources extends RunSources {
  dtype?: LoadDType;
  quantization?: Quantization | null;
  /** keep keys and values as bf16, as training with `bf16` does; default: f32 */
  bf16?: boolean;
  /** load the vision tower too, for prompts with images */
  vision?: boolean;
  /** expected number of responses generated together, if more than one */
  together?: number;
  /** bytes available for the weights; null: unknown */
  available?: number | null;
}

/** Typical lengths of prompts and responses. */
const FORESEEN = { prompts: [32, 256], max_new_tokens: 256 };

/** A model that is ready to load: everything except the weights has been read and checked. */
export interface PreparedText {
  config: ModelConfig;
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  chat_template: string | null;
  /** ids that end a response: from generation_config.json, the tokenizer, and the end of an assistant turn in the template */
  eos_token_ids: number[];
  defaults: GenerationDefaults;
  /** the kernels that generation will compile, with the tile sizes measured so far */
  kernels(): Promise<Kernel[]>;
}

/** A model that generates text. `setAdapter` switches its adapter on and off. */
export interface TextModel extends PreparedText {
  model: Transformer;
  /** the adapter it was loaded with */
  adapter: LoadedAdapter | null;
}

/**
 * Reads and checks a model's files except the weights. Allocates nothing on the GPU.
 *
 * @throws {NotFoundError} the model has no tokenizer
 * @throws {MemoryError} the weights do not fit
 * @throws if the checkpoint, its tokenizer or the adapter is invalid
 */
export async function prepareText(sources: TextSources): Promise<PreparedText> {
  const { gpu, model: folder, adapter, available = null } = sources;
  const { checkpoint, config } = await openModel(folder);
  const tokenizer = await openTokenizer(folder, adapter);
  if (!tokenizer) throw new NotFoundError(`Cannot write text with ${folder.path}: it has no tokenizer.json`);
  const file = "generation_config.json";
  const json = (await folder.exists(file)) ? await readJson(folder, file) : {};
  const defaults = parseGenerationConfig(json, `${folder.path}/${file}`);
  const chat_template = sources.chat_template ?? tokenizer.chat_template;
  const eos_token_ids = eosIds(tokenizer, chat_template, config.vocab_size, folder.path);
  const lora = adapter ? (await openAdapterFor(config, adapter, checkpoint)).lora : null;
  const dtypeOf = weightDTypes(gpu, config, checkpoint, sources);
  const stored = storeText(gpu, sources);
  const fake = fakeGpu(gpu);
  buildModel(fake, config, "none", dtypeOf);
  if (available !== null && fake.pool.ledger.peak > available) {
    throw new MemoryError(
      `Cannot load ${folder.path}: its weights need ${formatBytes(fake.pool.ledger.peak)} and ${formatBytes(available)} are available`,
    );
  }
  const kernels = async () => {
    const fake = fakeGpu(gpu);
    const { model } = buildModel(fake, shallow(config), lora ? { lora } : "none", dtypeOf);
    const slots = slotsFor({ config }, sources.together ?? 1, FORESEEN.max_new_tokens, stored);
    await recordGeneration(model, { ...samplingOf(defaults, {}), ...FORESEEN, slots });
    return fake.programs.kernels;
  };
  return { config, checkpoint, tokenizer, chat_template, eos_token_ids, defaults, kernels };
}

/** Sets how a device writes text: products in f32, keys and values as asked. */
function storeText(gpu: Gpu, { bf16 = false }: Pick<TextSources, "bf16">): ActivationStorage {
  gpu.precision = "highest"; // matmul_precision is an option of training
  gpu.activations = bf16 ? "bf16" : "f32";
  return gpu.activations;
}

/** Loads the weights of a prepared model, and switches its adapter on. */
export async function loadText(prepared: PreparedText, sources: TextSources): Promise<TextModel> {
  const { gpu, adapter: folder, dtype, quantization, vision, signal, onProgress } = sources;
  const report = (done: number, total: number) => onProgress?.("weights", done, total);
  storeText(gpu, sources);
  const load = () => loadModel(gpu, prepared.checkpoint, { dtype, quantization, vision, signal, onProgress: report });
  const model = await compiling(gpu, await prepared.kernels(), load, onProgress);
  const adapter = folder ? await loadAdapter(model, folder, prepared.checkpoint) : null;
  if (adapter) setAdapter(model, adapter);
  return { ...prepared, model, adapter };
}

/** Options for building a prompt from a row. */
export interface TextPromptOptions {
  /** system message for conversations without one */
  system?: string | null;
  /** use the plain text, without the chat template */
  raw?: boolean;
}

/**
 * The prompt of a row: its `messages`, without a final assistant turn, or its `prompt`, `question` or `problem` as a user turn.
 * With `raw`, the plain text.
 *
 * @throws {DataError} names the row's file and number: the prompt is missing, empty, or leaves no room for an answer
 */
export function promptOf(
  text: PreparedText,
  source: NumberedRow,
  { system = null, raw = false }: TextPromptOptions = {},
): PromptRow {
  const { tokenizer, chat_template, config } = text;
  const row = { ...source.row };
  const list = row.messages ?? row.conversations;
  const plain = ["prompt", "question", "problem"].find((name) => typeof row[name] === "string");
  if (plain && row[plain] === "") throw rowError(source, `"${plain}" is empty`);
  if (raw) {
    if (!plain) throw rowError(source, "raw text comes from prompt, question or problem, and the row has none of them");
    row.prompt = row[plain];
  } else if (Array.isArray(list) && (row.prompt ?? null) === null) {
    const turns = [...list];
    while (["assistant", "gpt"].includes(turns.at(-1)?.role ?? turns.at(-1)?.from)) turns.pop();
    row.prompt = turns;
  } else if (typeof row.prompt === "string") {
    row.prompt = [{ role: "user", content: row.prompt }];
  }
  if (!raw && chat_template === null) {
    throw rowError(source, "needs a chat template, and the model has none; complete the row as raw text");
  }
  const options = { tokenizer, chat_template, system_prompt: system, vocab_size: config.vocab_size };
  const plainPrompt = encodePrompt({ ...source, row }, options);
  const counts = imageCounts(source, plainPrompt.prompt_ids, config.vision?.image_token_id ?? null);
  const made = { ...plainPrompt, prompt_ids: repeated(plainPrompt.prompt_ids, counts) };
  const { max_position_embeddings: most } = config;
  if (made.prompt_ids.length >= most) {
    throw rowError(
      source,
      `the prompt has ${made.prompt_ids.length} tokens, and the model has ${most} positions (max_position_embeddings)`,
    );
  }
  return made;
}

/** Options for generating responses. */
export interface RespondOptions extends SamplingOptions {
  /** a response's largest number of tokens; the model's positions also limit it */
  max_new_tokens: number;
  /** responses per prompt; default 1 */
  n?: number;
  /** u32 */
  seed: number;
  /** texts that end a response; the response does not include them */
  stop?: readonly string[];
  /** transformers' stop strings: a response ends with the token that completes one of them, and includes it */
  stop_strings?: readonly string[];
  /** responses generated together; default: as memory allows */
  slots?: number;
  /** tokens that a response of a prompt may draw next, as in GenerateOptions; `response` counts all responses of all prompts */
  allowed?: (ids: readonly number[], response: number, left: number) => Uint32Array | null;
  /** longest time in milliseconds between two text events, for a live display */
  pace?: number;
  signal?: AbortSignal;
}

/** A complete response. */
export interface TextResponse extends Generation {
  /** without special tokens and the stop string */
  text: string;
}

/** New text of a response, or a complete response. */
export type TextEvent =
  | { type: "text"; prompt: number; response: number; text: string; tokens: number }
  | { type: "response"; prompt: number; response: number; made: TextResponse };

/**
 * Generates `n` responses to each prompt. A response depends only on its prompt, the seed, the prompt's `number` (default: its
 * index) and the response's own number, not on the rest of the batch. A resumed run therefore generates the same texts.
 *
 * @throws {DataError} if a stop string is empty
 */
export async function* respond(
  { model, config, tokenizer, eos_token_ids }: TextModel,
  prompts: readonly { prompt_ids: readonly number[]; number?: number; images?: SeenImages | null }[],
  { n = 1, stop = [], stop_strings = [], slots, ...options }: RespondOptions,
): AsyncGenerator<TextEvent> {
  const most = (tokens: number) => Math.min(options.max_new_tokens, config.max_position_embeddings - tokens);
  const longest = prompts.reduce((length, { prompt_ids: ids }) => Math.max(length, ids.length + most(ids.length)), 0);
  const requests = prompts.flatMap(({ prompt_ids, number, images = null }, i) =>
    Array.from({ length: n }, (_, response) => ({
      prompt_ids,
      images,
      sequence: mixSeed(number ?? i, response),
      max_new_tokens: most(prompt_ids.length),
    })),
  );
  const streams = requests.map(() => new TextStream(tokenizer, stop));
  const strings = new StopStrings(tokenizer, stop_strings);
  const watches = stop_strings.length > 0 ? requests.map(({ prompt_ids }) => strings.watch(prompt_ids)) : null;
  const fresh = requests.map(() => "");
  const events = generateStream(model, requests, {
    ...options,
    eos_token_ids,
    slots: slots ?? slotsFor(model, requests.length, longest, model.gpu.activations),
    stop: (ids, request) => {
      const stream = streams[request];
      const cut = watches?.[request].check(ids) ?? null;
      const last = cut ?? ids.length;
      const end = eos_token_ids.includes(ids[last - 1]) ? last - 1 : last;
      fresh[request] = stream.push(ids.slice(stream.tokens, end));
      return stream.stopped === null ? cut : stream.tokens;
    },
  });
  for await (const { request, ids, made } of events) {
    const [prompt, response] = [Math.floor(request / n), request % n];
    const text = made ? fresh[request] + streams[request].end() : fresh[request];
    yield { type: "text", prompt, response, text, tokens: ids.length };
    if (made) yield { type: "response", prompt, response, made: { ...made, text: streams[request].text } };
  }
}

/** Generation settings: the given values, else those in the model's files. */
export type TextSettings = SamplingOptions & {
  /** longest response in tokens; default 512, as positions allow */
  max_new_tokens: number;
  /** u32 */
  seed: number;
  /** transformers' stop strings: a response ends with the token that completes one of them, and includes it */
  stop_strings: readonly string[];
};

/** The default for max_new_tokens. transformers' default, 20, is too small. */
export const MAX_NEW_TOKENS = 512;

/** All settings of a response. @param seed used if the options have none */
export function settingsOf(defaults: GenerationDefaults, asked: Partial<TextSettings>, seed: number): TextSettings {
  return {
    ...samplingOf(defaults, asked),
    max_new_tokens: asked.max_new_tokens ?? defaults.max_new_tokens ?? MAX_NEW_TOKENS,
    seed: asked.seed ?? seed,
    stop_strings: asked.stop_strings ?? defaults.stop_strings,
  };
}

/** Prompt tokens of a conversation. @throws {DataError} as `promptOf` */
export function conversationIds(text: PreparedText, messages: readonly { role: string; content: unknown }[]): number[] {
  if (text.chat_template === null) throw new DataError("Cannot chat: the model has no chat template");
  const { bos_token, eos_token, pad_token } = text.tokenizer;
  return text.tokenizer.encode(
    renderChat(text.chat_template, messages as Message[], {
      bos_token,
      eos_token,
      pad_token: pad_token ?? undefined,
      add_generation_prompt: true,
    }),
  );
}
