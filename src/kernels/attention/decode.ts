import {
  decodeAttention as attentionShader,
  COMBINED,
  decodeCombine,
} from "../../../shaders/attention/decode-attention.wgsl.ts";
import { decodeAttentionLanes as lanesShader } from "../../../shaders/attention/decode-attention-lanes.wgsl.ts";
import { decodeState as stateShader } from "../../../shaders/attention/decode-state.wgsl.ts";
import { kvWrite as writeShader } from "../../../shaders/attention/kv-cache.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { threadGrid, WORKGROUP } from "../grid.ts";
import type { AttentionHeads } from "./attention.ts";

/** Keys and values of one layer for all slots: `[slots · capacity, num_key_value_heads · head_dim]` each, both f32 or both bf16. */
export interface LayerCache {
  keys: Tensor;
  values: Tensor;
}

/** Minimum keys of a split. */
const SPLIT = 64;
/** Scores in workgroup memory: 12 KiB. */
const SCORES = 3072;
/** Threads of an attention workgroup. */
const THREADS = 64;

/** Groups of threads that share out a head's splits when those are combined, where threads run in parallel. */
const GROUPS = 8;

/** How a cache is stored. @throws {ShapeError} bf16 heads that are not whole words of four */
function storedCache({ keys, values }: LayerCache, head_dim: number): "f32" | "bf16" {
  if (keys.dtype !== values.dtype || (keys.dtype === "bf16" && head_dim % 4 !== 0)) {
    throw new ShapeError(
      `Cannot use a cache of ${keys.dtype} keys and ${values.dtype} values with heads of ${head_dim}: both must be alike, and heads in bf16 multiples of 4`,
    );
  }
  return keys.dtype === "bf16" ? "bf16" : "f32";
}

/** How a workgroup reads: each thread for itself ("threads"), or the lanes of a subgroup for each other ("lanes"). */
type DecodeForm = "threads" | "lanes";

/** Forms of decoding attention that can run on an adapter; the first is its own. */
export function decodeForms({ profile }: Pick<GpuContext, "profile">, head_dim: number): DecodeForm[] {
  const shares = profile.attention === "lanes" && head_dim % 4 === 0;
  return shares ? ["lanes", "threads"] : ["threads"];
}

/**
 * Copies rows of a prefilled batch into the cache. A prompt that several sequences share is copied to every slot.
 *
 * @param qkv `[rows, (heads + 2·kvHeads)·head_dim]` f32: query, key and value heads, the first two rotated
 * @param pairs u32 `[n, 2]`: row of qkv, row of the cache (slot · capacity + position)
 */
export function kvWrite(
  record: Recorder,
  qkv: Tensor,
  pairs: Tensor,
  { keys, values }: LayerCache,
  { num_attention_heads: h, num_key_value_heads: g, head_dim: d }: AttentionHeads,
): void {
  const [stride, width] = [qkv.shape[1], keys.shape[1]];
  const cache = storedCache({ keys, values }, d);
  if (stride !== (h + 2 * g) * d || width !== g * d || values.shape[1] !== width) {
    throw new ShapeError(`Cannot cache qkv [${qkv.shape}] in [${keys.shape}] with ${h} and ${g} heads of ${d}`);
  }
  const words = cache === "bf16" ? width / 2 : width;
  const count = (sizeOf(pairs.shape) / 2) * words;
  record.dispatch(
    writeShader,
    { cache, workgroup: WORKGROUP },
    { qkv, pairs, keys, values },
    { count, width: words, stride, keyAt: h * d },
    threadGrid(count),
  );
}

/**
 * Writes each row's new key and value to its slot (row r at `slots[r] · capacity + positions[r]`), and attends with the
 * row's query over the slot, including the new key.
 *
 * Caches of more than `AdapterProfile.splitKeys` tokens are split: two dispatches, else one. Both give a row the same
 * result.
 *
 * @param qkv `[rows, (heads + 2·kvHeads)·head_dim]` f32: query, key and value heads, the first two rotated
 * @param at.slots u32 `[rows]`
 * @param at.positions u32 `[rows]`: the query's position; it sees the keys up to and including that position
 * @param at.capacity tokens of a slot
 * @param at.longest upper bound of all positions, which sizes the grid
 * @param form default: the first of `decodeForms`
 * @returns o `[rows, num_attention_heads · head_dim]`
 */
export function decodeAttention(
  record: Recorder,
  qkv: Tensor,
  { keys, values }: LayerCache,
  heads: AttentionHeads,
  { slots, positions, capacity, longest }: { slots: Tensor; positions: Tensor; capacity: number; longest: number },
  form: DecodeForm = decodeForms(record.gpu, heads.head_dim)[0],
): Tensor {
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const rows = qkv.shape[0];
  if (qkv.shape[1] !== (h + 2 * g) * d || keys.shape[1] !== g * d || slots.shape[0] !== rows) {
    throw new ShapeError(
      `Cannot attend qkv [${qkv.shape}] over a cache [${keys.shape}] with ${h} and ${g} heads of ${d}`,
    );
  }
  const cache = storedCache({ keys, values }, d);
  const fit = SPLIT * Math.floor(SCORES / (SPLIT * (h / g)));
  const split = Math.max(SPLIT, Math.min(record.gpu.profile.splitKeys, fit));
  const splits = Math.max(1, Math.ceil(Math.min(longest + 1, capacity) / split));
  const most = Math.ceil(capacity / split); // so that memory does not grow with the completions
  const o = record.empty([rows, h * d], "f32", "attention.o");
  const whole = splits === 1;
  const partials = whole ? null : record.empty([rows, most, h, d + 2], "f32", "attention.partials");
  const sizes = { headDim: d, heads: h, kvHeads: g, split, cache, whole };
  const tensors = { qkv, keys, values, slots, positions, ...(partials ? { partials } : { o }) };
  const params = { capacity, splits, scale: 1 / Math.sqrt(d) };
  const [grid, work] = [[rows, g, splits] as const, 4 * rows * h * d * longest];
  if (form === "lanes") {
    const lanes = record.gpu.profile.subgroup!.size!;
    record.dispatch(lanesShader, { ...sizes, lanes }, tensors, { ...params, quads: d / 4 }, grid, work);
  } else record.dispatch(attentionShader, { ...sizes, workgroup: THREADS }, tensors, params, grid, work);
  if (!partials) return o;
  const count = rows * h * d;
  const groups = form === "threads" ? GROUPS : 1;
  record.dispatch(
    decodeCombine,
    { headDim: d, workgroup: groups > 1 ? groups * COMBINED : WORKGROUP, groups },
    { partials, o },
    { count, splits, heads: h },
    groups > 1 ? [h, Math.ceil(d / COMBINED), rows] : threadGrid(count),
  );
  record.release(partials);
  return o;
}

/** State of each row on the GPU, so that tokens feed the next pass without a read-back. */
export interface DecodeRows {
  /** u32 `[rows]`: token to feed next */
  tokens: Tensor;
  /** u32 `[rows]`: position of that token */
  positions: Tensor;
  /** u32 `[rows]`: its rotary position, where images make it another; absent: the same */
  angles?: Tensor;
  /** u32 `[rows]`: tokens that may still be drawn; 0 = ended */
  left: Tensor;
}

/**
 * Processes drawn tokens: logs them, advances the rows, and ends rows that drew an end token.
 *
 * @param drawn.tokens u32 `[rows]`, and `logp` f32 `[rows]`: outputs of `sample`
 * @param ends u32 `[n]`: ids that end a completion
 * @param log u32 `[steps, rows, 2]`: token (0xffffffff for a row that ended before) and the bits of its log-prob
 */
export function decodeState(
  record: Recorder,
  { tokens: drawn, logp }: { tokens: Tensor; logp: Tensor },
  ends: Tensor,
  rows: DecodeRows,
  log: Tensor,
  step: number,
): void {
  const count = drawn.shape[0];
  record.dispatch(
    stateShader,
    { turned: rows.angles !== undefined, workgroup: WORKGROUP },
    { drawn, logp, ends, ...rows, log },
    { rows: count, step, ends: ends.shape[0] },
    Math.ceil(count / WORKGROUP),
  );
}

/** Attention of one query over `length` cached rows, in float64. */
export function decodeAttentionReference(
  q: Float64Array,
  keys: Float64Array,
  values: Float64Array,
  length: number,
  { num_attention_heads: h, num_key_value_heads: g, head_dim: d }: AttentionHeads,
): Float64Array {
  const o = new Float64Array(h * d);
  for (let head = 0; head < h; head++) {
    const kv = Math.floor(head / (h / g));
    const scores = Array.from({ length }, (_, j) => {
      let s = 0;
      for (let e = 0; e < d; e++) s += q[head * d + e] * keys[(j * g + kv) * d + e];
      return s / Math.sqrt(d);
    });
    const top = Math.max(...scores);
    const total = scores.reduce((sum, s) => sum + Math.exp(s - top), 0);
    for (let j = 0; j < length; j++) {
      const p = Math.exp(scores[j] - top) / total;
      for (let e = 0; e < d; e++) o[head * d + e] += p * values[(j * g + kv) * d + e];
    }
  }
  return o;
}
