import { renderChat } from "../data/chat-template.ts";
import { encodePrompt, type PromptRow } from "../data/prompts.ts";
import { type NumberedRow, rowError } from "../data/rows.ts";
import { TextStream } from "../data/text-stream.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError, MemoryError, NotFoundError } from "../errors.ts";
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
import { formatBytes } from "../text/bytes.ts";
import { shallow } from "../train/forecast/memory.ts";
import { slotsFor } from "../train/grpo/rollout.ts";
import { mixSeed } from "../train/seed.ts";
import { compiling, type RunSources } from "./open.ts";
import { eosIds, openTokenizer } from "./tokenizer.ts";

export { dropAdapter, type LoadedAdapter, loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
export { type GenerationDefaults, samplingOf } from "../model/generate/config.ts";

/** Where a model that writes text comes from. */
export interface TextSources extends RunSources {
  dtype?: LoadDType;
  quantization?: Quantization | null;
  /** responses that will be written together, where more than one is foreseen */
  together?: number;
  /** bytes that its weights may take; null: nobody knows */
  available?: number | null;
}

/** Prompts and responses as they mostly are. */
const FORESEEN = { prompts: [32, 256], max_new_tokens: 256 };

/** A model that is ready to load: everything is read and checked except the weights. */
export interface PreparedText {
  config: ModelConfig;
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  chat_template: string | null;
  /** ids that end a response: generation_config's, the tokenizer's, and what ends the assistant's turn in the template */
  eos_token_ids: number[];
  defaults: GenerationDefaults;
  /** what writing text will have compiled, with the tiles that were measured by now */
  kernels(): Promise<Kernel[]>;
}

/** A model that writes text. Its adapter goes on and off with `setAdapter`. */
export interface TextModel extends PreparedText {
  model: Transformer;
  /** the one it was loaded with */
  adapter: LoadedAdapter | null;
}

/**
 * Reads and checks a model's files except the weights. Allocates nothing on the GPU.
 *
 * @throws {NotFoundError} a model without a tokenizer
 * @throws {MemoryError} weights that do not fit
 * @throws what else is wrong with the checkpoint, its tokenizer or the adapter
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
  const lora = adapter ? (await openAdapterFor(config, adapter)).lora : null;
  const dtypeOf = weightDTypes(gpu, config, checkpoint, sources);
  const fake = fakeGpu(gpu);
  buildModel(fake, config, "none", dtypeOf);
  if (available !== null && fake.pool.ledger.peak > available) {
    throw new MemoryError(
      `Cannot load ${folder.path}: its weights take ${formatBytes(fake.pool.ledger.peak)} and ${formatBytes(available)} are available`,
    );
  }
  const kernels = async () => {
    const fake = fakeGpu(gpu);
    const { model } = buildModel(fake, shallow(config), lora ? { lora } : "none", dtypeOf);
    const slots = slotsFor({ config }, sources.together ?? 1, FORESEEN.max_new_tokens);
    await recordGeneration(model, { ...samplingOf(defaults, {}), ...FORESEEN, slots });
    return fake.programs.kernels;
  };
  return { config, checkpoint, tokenizer, chat_template, eos_token_ids, defaults, kernels };
}

/** Loads the weights of a prepared model, and puts its adapter on. */
export async function loadText(prepared: PreparedText, sources: TextSources): Promise<TextModel> {
  const { gpu, adapter: folder, dtype, quantization, signal, onProgress } = sources;
  const report = (done: number, total: number) => onProgress?.("weights", done, total);
  const model = await compiling(gpu, await prepared.kernels(), () =>
    loadModel(gpu, prepared.checkpoint, { dtype, quantization, signal, onProgress: report }),
  );
  const adapter = folder ? await loadAdapter(model, folder) : null;
  if (adapter) setAdapter(model, adapter);
  return { ...prepared, model, adapter };
}

/** How a row becomes a prompt. */
export interface TextPromptOptions {
  /** system turn of conversations that have none */
  system?: string | null;
  /** plain text, without the chat template */
  raw?: boolean;
}

/**
 * The prompt of a row: `messages` (a last turn of the assistant's is left out: it is what will be written), or `prompt`,
 * `question` or `problem` as a user's turn. With `raw` the text as it is.
 *
 * @throws {DataError} with the row's file and number: no prompt, an empty one, one that leaves no room for an answer
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
    if (!plain) throw rowError(source, "raw text is completed from prompt, question or problem, and the row has none");
    row.prompt = row[plain];
  } else if (Array.isArray(list) && (row.prompt ?? null) === null) {
    const turns = [...list];
    while (["assistant", "gpt"].includes(turns.at(-1)?.role ?? turns.at(-1)?.from)) turns.pop();
    row.prompt = turns;
  } else if (typeof row.prompt === "string") {
    row.prompt = [{ role: "user", content: row.prompt }];
  }
  if (!raw && chat_template === null) {
    throw rowError(source, "is to be answered, and the model has no chat template; complete it as raw text");
  }
  const options = { tokenizer, chat_template, system_prompt: system, vocab_size: config.vocab_size };
  const made = encodePrompt({ ...source, row }, options);
  const { max_position_embeddings: most } = config;
  if (made.prompt_ids.length >= most) {
    throw rowError(
      source,
      `the prompt has ${made.prompt_ids.length} tokens, and the model ${most} positions in all (max_position_embeddings)`,
    );
  }
  return made;
}

/** How responses are written. */
export interface RespondOptions extends SamplingOptions {
  /** a response ends there at the latest, or where the model's positions do */
  max_new_tokens: number;
  /** responses a prompt; default 1 */
  n?: number;
  /** u32 */
  seed: number;
  /** texts that end a response, and are left out of it */
  stop?: readonly string[];
  /** responses that are written together; default by memory */
  slots?: number;
  /** milliseconds between two pieces of text at most, where somebody watches */
  pace?: number;
  signal?: AbortSignal;
}

/** A whole response. */
export interface TextResponse extends Generation {
  /** without special tokens and stop string */
  text: string;
}

/** A piece of a response, or a whole one that has ended. */
export type TextEvent =
  | { type: "text"; prompt: number; response: number; text: string; tokens: number }
  | { type: "response"; prompt: number; response: number; made: TextResponse };

/**
 * Writes `n` responses to each prompt. A response depends on its prompt, the seed, the prompt's `number` (default: its
 * place) and its own number, not on what is written beside it: a run that was cut short goes on with the same texts.
 *
 * @throws {DataError} an empty stop string
 */
export async function* respond(
  { model, config, tokenizer, eos_token_ids }: TextModel,
  prompts: readonly { prompt_ids: readonly number[]; number?: number }[],
  { n = 1, stop = [], slots, ...options }: RespondOptions,
): AsyncGenerator<TextEvent> {
  const most = (tokens: number) => Math.min(options.max_new_tokens, config.max_position_embeddings - tokens);
  const longest = prompts.reduce((length, { prompt_ids: ids }) => Math.max(length, ids.length + most(ids.length)), 0);
  const requests = prompts.flatMap(({ prompt_ids, number }, i) =>
    Array.from({ length: n }, (_, response) => ({
      prompt_ids,
      sequence: mixSeed(number ?? i, response),
      max_new_tokens: most(prompt_ids.length),
    })),
  );
  const streams = requests.map(() => new TextStream(tokenizer, stop));
  const fresh = requests.map(() => "");
  const events = generateStream(model, requests, {
    ...options,
    eos_token_ids,
    slots: slots ?? slotsFor(model, requests.length, longest),
    stop: (ids, request) => {
      const stream = streams[request];
      const end = eos_token_ids.includes(ids[ids.length - 1]) ? ids.length - 1 : ids.length;
      fresh[request] = stream.push(ids.slice(stream.tokens, end));
      return stream.stopped === null ? null : stream.tokens;
    },
  });
  for await (const { request, ids, made } of events) {
    const [prompt, response] = [Math.floor(request / n), request % n];
    const text = made ? fresh[request] + streams[request].end() : fresh[request];
    yield { type: "text", prompt, response, text, tokens: ids.length };
    if (made) yield { type: "response", prompt, response, made: { ...made, text: streams[request].text } };
  }
}

/** How a response is written: what was asked for, else what the model's files say. */
export type TextSettings = SamplingOptions & { max_new_tokens: number; seed: number };

/** Most new tokens of a response where nothing else sets a limit. transformers' own default, 20, is too few. */
export const MAX_NEW_TOKENS = 512;

/** All settings of a response. @param seed where none is asked for */
export function settingsOf(defaults: GenerationDefaults, asked: Partial<TextSettings>, seed: number): TextSettings {
  return {
    ...samplingOf(defaults, asked),
    max_new_tokens: asked.max_new_tokens ?? defaults.max_new_tokens ?? MAX_NEW_TOKENS,
    seed: asked.seed ?? seed,
  };
}

/** Turns of a conversation as prompt tokens. @throws {DataError} as `promptOf` */
export function conversationIds(text: PreparedText, messages: readonly { role: string; content: string }[]): number[] {
  if (text.chat_template === null) throw new DataError("Cannot chat: the model has no chat template");
  const { bos_token, eos_token, pad_token } = text.tokenizer;
  return text.tokenizer.encode(
    renderChat(text.chat_template, messages, {
      bos_token,
      eos_token,
      pad_token: pad_token ?? undefined,
      add_generation_prompt: true,
    }),
  );
}
