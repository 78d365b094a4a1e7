import { MemoryError, ShapeError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type DecodeRows, decodeState } from "../kernels/decode.ts";
import { markSeen, sample } from "../kernels/sample.ts";
import { decodeStep, KvCache, type PrefillPrompt, prefill } from "./decode.ts";
import type { Transformer } from "./transformer.ts";

/** How tokens are drawn, by transformers' names and in its order of processing. */
export interface SamplingOptions {
  /** 0 takes the most probable token */
  temperature: number;
  /** 0 = off */
  top_k: number;
  /** 1 = off */
  top_p: number;
  /** 0 = off */
  min_p: number;
  /** 1 = off */
  repetition_penalty: number;
}

export interface GenerateOptions extends SamplingOptions {
  max_new_tokens: number;
  /** ids that end a completion; part of it */
  eos_token_ids: readonly number[];
  /** u32; with a request's `sequence` and the position it decides every draw */
  seed: number;
  /** sequences that are decoded together; 0 = up to 16 */
  slots?: number;
  /** tokens between two read-backs */
  block?: number;
  /** called with a completion so far after each block; gives the length to cut it to, or null to go on: stop strings */
  stop?: (ids: readonly number[], request: number) => number | null;
  /** the tokens that a block brought to a request, after `stop` */
  onTokens?: (ids: readonly number[], request: number) => void;
  signal?: AbortSignal;
}

/** One completion to be made. Requests that share `prompt_ids` (the same array) are prefilled once. */
export interface GenerationRequest {
  prompt_ids: readonly number[];
  /** u32: what tells this completion's draws from others'; the same (seed, sequence) gives the same completion */
  sequence: number;
}

export interface Generation {
  ids: number[];
  /** log-prob of each token under the sampling temperature, before top-k, top-p and min-p; 1 where greedy */
  logps: Float32Array;
  /** stop: an EOS id or a stop string; length: max_new_tokens */
  finish_reason: "stop" | "length";
}

/** A request that holds a slot. */
interface Active {
  request: number;
  slot: number;
  ids: number[];
  logps: number[];
}

/** Most prompt tokens that are prefilled in one go. */
const PREFILL_TOKENS = 4096;
const ENDED = 0xffffffff;

/**
 * Completes prompts: many sequences over one pass of the weights, each in a slot of the cache that the next waiting one
 * takes over. Drawn tokens feed the next pass on the GPU; they come back a block at a time.
 *
 * @returns a completion a request, in order
 * @throws {ShapeError} an empty prompt, or an id outside the vocabulary
 * @throws {MemoryError} a sequence whose cache no binding of this device can hold
 */
export async function generate(
  model: Transformer,
  requests: readonly GenerationRequest[],
  options: GenerateOptions,
): Promise<Generation[]> {
  if (requests.length === 0) return [];
  check(model, requests, options);
  const { gpu, config } = model;
  const capacity = Math.max(...requests.map(({ prompt_ids }) => prompt_ids.length)) + options.max_new_tokens;
  const most = KvCache.mostSlots(gpu, config, capacity);
  if (most < 1) {
    throw new MemoryError(
      `Cannot generate ${options.max_new_tokens} tokens: a cache of ${capacity} tokens passes this device's binding limit of ${gpu.limits.maxStorageBufferBindingSize} bytes`,
    );
  }
  const cache = new KvCache(gpu, config, Math.min(options.slots || 16, requests.length, most), capacity);
  const done: (Generation | null)[] = requests.map(() => null);
  const waiting = requests.map((_, i) => i);
  const free = Array.from({ length: cache.slots }, (_, i) => cache.slots - 1 - i);
  let active: Active[] = [];
  try {
    while (active.length > 0 || waiting.length > 0) {
      options.signal?.throwIfAborted();
      const joining: Active[] = [];
      while (free.length > 0 && waiting.length > 0) {
        joining.push({ request: waiting.shift()!, slot: free.pop()!, ids: [], logps: [] });
      }
      prefillJoining(model, cache, requests, joining);
      active.push(...joining);
      const drawn = await decodeBlock(model, cache, requests, active, options);
      active = active.filter((row, r) => {
        const ended = take(row, drawn[r], options);
        if (!ended) return true;
        done[row.request] = { ids: row.ids, logps: Float32Array.from(row.logps), finish_reason: ended };
        free.push(row.slot);
        return false;
      });
      gpu.endStep();
    }
  } finally {
    await gpu.settle().catch(() => {});
    cache.drop();
  }
  return done as Generation[];
}

function check(model: Transformer, requests: readonly GenerationRequest[], options: GenerateOptions): void {
  const { vocab_size } = model.config;
  const outside = (id: number) => !Number.isInteger(id) || id < 0 || id >= vocab_size;
  requests.forEach(({ prompt_ids }, i) => {
    if (prompt_ids.length === 0) throw new ShapeError(`Cannot complete prompt ${i}: it has no token`);
    const bad = prompt_ids.find(outside);
    if (bad !== undefined)
      throw new ShapeError(`Cannot complete prompt ${i}: token ${bad} is outside the vocabulary of ${vocab_size}`);
  });
  const bad = options.eos_token_ids.find(outside);
  if (bad !== undefined)
    throw new ShapeError(`Cannot end completions at token ${bad}: it is outside the vocabulary of ${vocab_size}`);
  if (!Number.isInteger(options.max_new_tokens) || options.max_new_tokens < 1) {
    throw new ShapeError(`max_new_tokens must be an integer of at least 1, got ${options.max_new_tokens}`);
  }
}

/** Prefills all but each prompt's last token, which is the first that decoding feeds. */
function prefillJoining(
  model: Transformer,
  cache: KvCache,
  requests: readonly GenerationRequest[],
  joining: readonly Active[],
): void {
  const groups = new Map<readonly number[], number[]>();
  for (const { request, slot } of joining) {
    const { prompt_ids } = requests[request];
    const slots = groups.get(prompt_ids);
    if (slots) slots.push(slot);
    else groups.set(prompt_ids, [slot]);
  }
  const record = model.gpu.recorder();
  let batch: PrefillPrompt[] = [];
  let tokens = 0;
  for (const [prompt_ids, slots] of groups) {
    const ids = prompt_ids.slice(0, -1);
    if (ids.length === 0) continue;
    if (tokens + ids.length > PREFILL_TOKENS && batch.length > 0) {
      prefill(record, model, cache, batch);
      [batch, tokens] = [[], 0];
    }
    batch.push({ ids, slots });
    tokens += ids.length;
  }
  if (batch.length > 0) prefill(record, model, cache, batch);
  record.submit();
}

/** What a block drew for one row: tokens, ended ones left out, and their log-probs. */
interface Drawn {
  ids: number[];
  logps: number[];
}

async function decodeBlock(
  model: Transformer,
  cache: KvCache,
  requests: readonly GenerationRequest[],
  active: readonly Active[],
  options: GenerateOptions,
): Promise<Drawn[]> {
  const rows = active.length;
  const { vocab_size } = model.config;
  const left = active.map(({ ids }) => options.max_new_tokens - ids.length);
  const steps = Math.min(options.block ?? 16, Math.max(...left));
  const record = model.gpu.recorder();
  const log = record.scope(() => {
    const up = (values: ArrayLike<number>, label: string) =>
      record.upload(Uint32Array.from(values), [values.length], label);
    const prompts = active.map(({ request }) => requests[request].prompt_ids);
    const positions = active.map(({ ids }, r) => prompts[r].length + ids.length - 1);
    const state: DecodeRows = {
      tokens: up(
        active.map(({ ids }, r) => ids.at(-1) ?? prompts[r].at(-1)!),
        "tokens",
      ),
      positions: up(positions, "positions"),
      left: up(left, "left"),
    };
    const slots = up(
      active.map(({ slot }) => slot),
      "slots",
    );
    const seeds = up(
      active.map(({ request }) => sequenceSeed(options.seed, requests[request].sequence)),
      "seeds",
    );
    const ends = up(options.eos_token_ids.length > 0 ? options.eos_token_ids : [ENDED], "ends");
    const log = record.empty([steps, rows, 2], "u32", "log");
    const seen =
      options.repetition_penalty === 1
        ? null
        : seenBits(active, prompts, vocab_size, (bits, shape) => record.upload(bits, shape, "seen"));
    for (let step = 0; step < steps; step++) {
      record.scope(() => {
        const longest = Math.max(...positions) + step;
        const logits = decodeStep(record, model, cache, {
          tokens: state.tokens,
          positions: state.positions,
          slots,
          longest,
        });
        const { tokens, logp } = sample(record, logits, {
          ...options,
          greedy: options.temperature === 0,
          seeds,
          positions: state.positions,
          seen: seen ?? undefined,
          vocab: vocab_size,
        });
        if (seen) markSeen(record, seen, tokens);
        decodeState(record, tokens, logp, ends, state, log, step);
      });
    }
    return record.read(log);
  });
  record.submit();
  const words = new Uint32Array(await log);
  const floats = new Float32Array(words.buffer);
  return active.map((_, r) => {
    const drawn: Drawn = { ids: [], logps: [] };
    for (let step = 0; step < steps; step++) {
      const at = 2 * (step * rows + r);
      if (words[at] === ENDED) break;
      drawn.ids.push(words[at]);
      drawn.logps.push(floats[at + 1]);
    }
    return drawn;
  });
}

/** Adds what was drawn to a row. @returns why it ended, or null */
function take(row: Active, drawn: Drawn, options: GenerateOptions): "stop" | "length" | null {
  row.ids.push(...drawn.ids);
  row.logps.push(...drawn.logps);
  const cut = options.stop?.(row.ids, row.request) ?? null;
  const before = row.ids.length - drawn.ids.length;
  if (cut !== null) {
    row.ids.length = cut;
    row.logps.length = cut;
  }
  options.onTokens?.(row.ids.slice(Math.min(before, row.ids.length)), row.request);
  if (cut !== null || options.eos_token_ids.includes(row.ids[row.ids.length - 1])) return "stop";
  return row.ids.length >= options.max_new_tokens ? "length" : null;
}

/** Seed of one sequence's draws: both numbers mixed, so that neighbours have nothing in common. */
function sequenceSeed(seed: number, sequence: number): number {
  let h = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(sequence + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  return (h ^ (h >>> 15)) >>> 0;
}

/** One bit a token that prompt or completion holds: `[rows, ceil(vocab / 32)]`. */
function seenBits(
  active: readonly Active[],
  prompts: readonly (readonly number[])[],
  vocab: number,
  up: (bits: Uint32Array, shape: number[]) => Tensor,
): Tensor {
  const words = Math.ceil(vocab / 32);
  const bits = new Uint32Array(active.length * words);
  active.forEach(({ ids }, r) => {
    for (const id of [...prompts[r], ...ids]) bits[r * words + (id >>> 5)] |= 1 << (id & 31);
  });
  return up(bits, [active.length, words]);
}
