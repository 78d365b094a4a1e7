import { MemoryError, ShapeError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type DecodeRows, decodeState } from "../../kernels/attention/decode.ts";
import { maskLogits } from "../../kernels/sample/mask-logits.ts";
import { markSeen, sample } from "../../kernels/sample/sample.ts";
import { SlotCache } from "../cache.ts";
import type { Transformer } from "../transformer.ts";
import { positionShift, type SeenImages } from "../vision/images.ts";
import { decodeStep, type PrefillPrompt, prefill } from "./decode.ts";

/** Sampling settings, under transformers' names and applied in its order. */
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
  /** ids that end a completion; the completion includes the id */
  eos_token_ids: readonly number[];
  /** u32; with a request's `sequence` and the position it decides every draw */
  seed: number;
  /** sequences decoded together; 0 = up to 16 */
  slots?: number;
  /** most tokens between two read-backs; default 16 */
  block?: number;
  /** target milliseconds between read-backs, for streaming text: blocks get shorter on a slow adapter */
  pace?: number;
  /** called after each block with the completion so far; returns the length to cut it to, or null to continue */
  stop?: (ids: readonly number[], request: number) => number | null;
  /**
   * tokens that a request may draw next, as u32 `[ceil(vocab / 32)]` with a bit each, or null for all; called before every token
   * with the completion so far and the number of tokens that it may still draw. Log-probs are then those among allowed tokens
   */
  allowed?: (ids: readonly number[], request: number, left: number) => Uint32Array | null;
  /** called with the tokens that a block added to a request, after `stop` */
  onTokens?: (ids: readonly number[], request: number) => void;
  signal?: AbortSignal;
}

/** One completion to generate. Requests that share `prompt_ids` (the same array) are prefilled once. */
export interface GenerationRequest {
  prompt_ids: readonly number[];
  /** images of the prompt, whose tokens are in it */
  images?: SeenImages | null;
  /** u32 that separates this completion's draws from others'; the same (seed, sequence) gives the same completion */
  sequence: number;
  /** limit of this request, if lower than the options' */
  max_new_tokens?: number;
}

export interface Generation {
  ids: number[];
  /** log-prob of each token under the sampling temperature, before top-k, top-p and min-p; temperature 1 if greedy */
  logps: Float32Array;
  /** stop: an EOS id or a stop string; length: max_new_tokens */
  finish_reason: "stop" | "length";
}

/** A request that holds a slot. */
interface Active {
  request: number;
  slot: number;
  /** most tokens of its completion */
  most: number;
  ids: number[];
  logps: number[];
  /** of its rotary positions */
  shift: number;
}

/**
 * Least rows of a pass of a small model on a CPU adapter, where as many may be decoded together: kernels for fewer rows compile for
 * seconds and save milliseconds.
 */
const LEAST_ROWS = 16;
/** hidden_size times layers of the largest small model */
const SMALL = 2048;
/** Most prompt tokens to prefill in one pass. */
const PREFILL_TOKENS = 4096;
const ENDED = 0xffffffff;

/** The tokens that a block added to one request. */
interface GenerationEvent {
  request: number;
  /** new tokens */
  ids: number[];
  /** the whole completion once it has ended */
  made: Generation | null;
}

/**
 * Completes prompts. Each sequence has a slot of the cache; when it ends, the next waiting request takes the slot.
 * Every pass over the weights decodes one token of all slots. Drawn tokens feed the next pass on the GPU and are read
 * back one block at a time.
 *
 * @returns one completion per request, in order
 * @throws {ShapeError} an empty prompt, or an id outside the vocabulary
 * @throws {MemoryError} a sequence whose cache does not fit a binding of this device
 */
export async function generate(
  model: Transformer,
  requests: readonly GenerationRequest[],
  options: GenerateOptions,
): Promise<Generation[]> {
  const done = new Array<Generation>(requests.length);
  for await (const { request, ids, made } of generateStream(model, requests, options)) {
    options.onTokens?.(ids, request);
    if (made) done[request] = made;
  }
  return done;
}

/** The same, block by block. Leaving the loop early, or aborting, keeps the blocks so far and frees the cache. */
export async function* generateStream(
  model: Transformer,
  requests: readonly GenerationRequest[],
  options: Omit<GenerateOptions, "onTokens">,
): AsyncGenerator<GenerationEvent> {
  if (requests.length === 0) return;
  check(model, requests, options);
  const { gpu, config, weights } = model;
  const limits = requests.map(({ max_new_tokens }) => max_new_tokens ?? options.max_new_tokens);
  const capacity = Math.max(...requests.map(({ prompt_ids }, i) => prompt_ids.length + limits[i]));
  const most = SlotCache.mostSlots(gpu, config, capacity);
  if (most < 1) {
    throw new MemoryError(
      `Cannot generate ${Math.max(...limits)} tokens: a cache of ${capacity} tokens exceeds this device's binding limit of ${gpu.limits.maxStorageBufferBindingSize} bytes`,
    );
  }
  const cache = new SlotCache(gpu, weights.blocks, Math.min(options.slots || 16, requests.length, most), capacity);
  const waiting = requests.map((_, i) => i);
  const free = Array.from({ length: cache.slots }, (_, i) => cache.slots - 1 - i);
  const longest = options.block ?? 16;
  let block = options.pace ? 1 : longest;
  let active: Active[] = [];
  try {
    while (active.length > 0 || waiting.length > 0) {
      options.signal?.throwIfAborted();
      const joining: Active[] = [];
      while (free.length > 0 && waiting.length > 0) {
        const request = waiting.shift()!;
        const { prompt_ids, images = null } = requests[request];
        const shift = positionShift(config, prompt_ids, images);
        joining.push({ request, slot: free.pop()!, most: limits[request], ids: [], logps: [], shift });
      }
      prefillJoining(model, cache, requests, joining);
      active.push(...joining);
      const began = performance.now();
      const drawn = await decodeBlock(model, cache, requests, active, block, options);
      if (options.pace) {
        const each = (performance.now() - began) / Math.max(...drawn.map(({ ids }) => ids.length));
        block = Math.max(1, Math.min(longest, Math.floor(options.pace / each)));
      }
      const staying: Active[] = [];
      const events = active.map((row, r): GenerationEvent => {
        const { ids, ended } = take(row, drawn[r], options);
        if (ended) free.push(row.slot);
        else staying.push(row);
        const made = ended && { ids: row.ids, logps: Float32Array.from(row.logps), finish_reason: ended };
        return { request: row.request, ids, made };
      });
      active = staying;
      gpu.endStep();
      yield* events;
    }
  } finally {
    await gpu.settle().catch(() => {});
    cache.drop();
  }
}

function check(
  model: Transformer,
  requests: readonly GenerationRequest[],
  options: Pick<GenerateOptions, "eos_token_ids" | "max_new_tokens">,
): void {
  const { vocab_size } = model.config;
  const outside = (id: number) => !Number.isInteger(id) || id < 0 || id >= vocab_size;
  requests.forEach(({ prompt_ids }, i) => {
    if (prompt_ids.length === 0) throw new ShapeError(`Cannot complete prompt ${i}: it is empty`);
    const bad = prompt_ids.find(outside);
    if (bad !== undefined)
      throw new ShapeError(`Cannot complete prompt ${i}: token ${bad} is outside the vocabulary of ${vocab_size}`);
  });
  const bad = options.eos_token_ids.find(outside);
  if (bad !== undefined)
    throw new ShapeError(`Cannot use ${bad} as a stop token: it is outside the vocabulary of ${vocab_size}`);
  for (const most of [options.max_new_tokens, ...requests.flatMap((request) => request.max_new_tokens ?? [])]) {
    if (!Number.isInteger(most) || most < 1) {
      throw new ShapeError(`max_new_tokens must be an integer of at least 1, got ${most}`);
    }
  }
}

/** Prefills all tokens of each prompt but the last: decoding feeds that token first. */
function prefillJoining(
  model: Transformer,
  cache: SlotCache,
  requests: readonly GenerationRequest[],
  joining: readonly Active[],
): void {
  const groups = new Map<readonly number[], { slots: number[]; images: SeenImages | null }>();
  for (const { request, slot } of joining) {
    const { prompt_ids, images = null } = requests[request];
    const group = groups.get(prompt_ids);
    if (group) group.slots.push(slot);
    else groups.set(prompt_ids, { slots: [slot], images });
  }
  const record = model.gpu.recorder();
  let batch: PrefillPrompt[] = [];
  let tokens = 0;
  for (const [prompt_ids, { slots, images }] of groups) {
    const ids = prompt_ids.slice(0, -1);
    if (ids.length === 0) continue;
    if (tokens + ids.length > PREFILL_TOKENS && batch.length > 0) {
      prefill(record, model, cache, batch);
      [batch, tokens] = [[], 0];
    }
    batch.push({ ids, slots, images });
    tokens += ids.length;
  }
  if (batch.length > 0) prefill(record, model, cache, batch);
  record.submit();
}

/** One row's tokens of a block, up to its end, and their log-probs. */
interface Drawn {
  ids: number[];
  logps: number[];
}

/** Rows of a pass: the active ones, and where they are too few, the first again, whose repetitions compute and write the same. */
function rowsOf({ gpu, config }: Transformer, active: readonly Active[], options: GenerateOptions): readonly Active[] {
  const { allowed, slots = 0 } = options;
  const small = gpu.profile.kind === "cpu" && config.hidden_size * config.num_hidden_layers <= SMALL;
  const missing = small && !allowed ? Math.min(LEAST_ROWS, slots) - active.length : 0;
  return missing > 0 ? [...active, ...new Array<Active>(missing).fill(active[0])] : active;
}

async function decodeBlock(
  model: Transformer,
  cache: SlotCache,
  requests: readonly GenerationRequest[],
  sequences: readonly Active[],
  block: number,
  options: GenerateOptions,
): Promise<Drawn[]> {
  const active = rowsOf(model, sequences, options);
  const rows = active.length;
  const { vocab_size } = model.config;
  const left = active.map(({ most, ids }) => most - ids.length);
  // the next token's mask depends on the present token
  const steps = options.allowed ? 1 : Math.min(block, Math.max(...left));
  const mask = options.allowed ? maskOf(active, left, vocab_size, options.allowed) : null;
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
      ...(active.some(({ shift }) => shift !== 0) && {
        angles: up(
          active.map(({ shift }, r) => positions[r] + shift),
          "angles",
        ),
      }),
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
    const allowed = mask && record.upload(mask, [rows, mask.length / rows], "allowed");
    const longest = Math.max(...positions) + steps - 1;
    const { sequence } = record.capture(() =>
      record.scope(() => {
        const logits = decodeStep(record, model, cache, {
          tokens: state.tokens,
          positions: state.positions,
          angles: state.angles,
          slots,
          longest,
        });
        if (allowed) maskLogits(record, logits, allowed);
        const { tokens, logp } = sample(record, logits, {
          ...options,
          greedy: options.temperature === 0,
          seeds,
          positions: state.positions,
          seen: seen ?? undefined,
          vocab: vocab_size,
        });
        if (seen) markSeen(record, seen, tokens);
        decodeState(record, { tokens, logp }, ends, state, log, 0);
      }),
    );
    if (steps > 1) record.submit(); // the GPU begins while the rest is recorded
    for (let step = 1; step < steps; step++) record.repeat(sequence, { step });
    return record.read(log);
  });
  record.submit();
  const words = new Uint32Array(await log);
  const floats = new Float32Array(words.buffer);
  return sequences.map((_, r) => {
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

/** Adds drawn tokens to a row. @returns the kept tokens, and why the row ended, or null */
function take(
  row: Active,
  drawn: Drawn,
  options: Pick<GenerateOptions, "stop" | "eos_token_ids">,
): { ids: number[]; ended: "stop" | "length" | null } {
  const before = row.ids.length;
  row.ids.push(...drawn.ids);
  row.logps.push(...drawn.logps);
  const cut = options.stop?.(row.ids, row.request) ?? null;
  if (cut !== null) {
    row.ids.length = cut;
    row.logps.length = cut;
  }
  const ids = row.ids.slice(before);
  if (cut !== null || options.eos_token_ids.includes(row.ids[row.ids.length - 1])) return { ids, ended: "stop" };
  return { ids, ended: row.ids.length >= row.most ? "length" : null };
}

/** Seed of one sequence's draws: mixes both numbers, so that neighbouring sequences are independent. */
function sequenceSeed(seed: number, sequence: number): number {
  let h = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(sequence + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  return (h ^ (h >>> 15)) >>> 0;
}

/** The masks of all rows, `[rows, ceil(vocab / 32)]`; null if none has one. */
function maskOf(
  active: readonly Active[],
  left: readonly number[],
  vocab: number,
  allowed: NonNullable<GenerateOptions["allowed"]>,
): Uint32Array | null {
  const words = Math.ceil(vocab / 32);
  const rows = active.map(({ ids, request }, r) => allowed(ids, request, left[r]));
  if (rows.every((row) => row === null)) return null;
  const all = new Uint32Array(active.length * words).fill(0xffffffff);
  for (const [r, row] of rows.entries()) if (row) all.set(row, r * words);
  return all;
}

/** One bit per token id, set if the prompt or completion contains it: `[rows, ceil(vocab / 32)]`. */
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
