import {
  attentionBackwardKv as backwardKv,
  attentionBackwardQ as backwardQ,
  attention as forward,
} from "../../shaders/attention.wgsl.ts";
import { ShapeError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { sameShape } from "./grid.ts";

export { attention, attentionBackward } from "./attention-split.ts";

/** Heads of an attention layer, as config.json names them. */
export interface AttentionHeads {
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
}

/**
 * Causal attention within each sequence of a packed batch: `o = softmax(q·kᵀ/√head_dim)·v`, with grouped query heads.
 *
 * Flash-style: the softmax is online, no buffer grows with length². Records one dispatch.
 *
 * @param qkv `[tokens, (num_attention_heads + 2·num_key_value_heads) · head_dim]` f32: query heads, key heads, value heads;
 *   the first two rotated
 * @param spans u32 `[tokens, 2]`: first token of the row's sequence, and one past its last; neither ever falls
 * @returns o `[tokens, num_attention_heads · head_dim]`, and stats `[tokens, heads, 2]`: the log-sum-exp of each row, for the backward pass
 * @throws {ShapeError} heads that do not divide, a head_dim that is no multiple of 4
 * @see shaders/attention.wgsl.ts, attentionReference, arXiv:2307.08691
 */
export function attentionFused(
  record: Recorder,
  qkv: Tensor,
  spans: Tensor,
  heads: AttentionHeads,
): { o: Tensor; stats: Tensor } {
  const { tokens, variant, params, work } = prepare(record, qkv, spans, heads);
  const o = record.empty([tokens, heads.num_attention_heads * heads.head_dim], "f32", "attention.o");
  const stats = record.empty([tokens, heads.num_attention_heads, 2], "f32", "attention.stats");
  record.dispatch(
    forward,
    variant,
    { qkv, spans, o, stats },
    params,
    [Math.ceil(tokens / variant.workgroup), heads.num_attention_heads],
    work,
  );
  return { o, stats };
}

/**
 * Gradients of `attention` from its output and log-sum-exp: two dispatches, query-major and key-major, without atomics.
 *
 * @param dout gradient of o
 * @param stats of the forward pass; its second entries are overwritten
 * @returns dqkv, shaped like qkv
 */
export function attentionFusedBackward(
  record: Recorder,
  qkv: Tensor,
  spans: Tensor,
  o: Tensor,
  dout: Tensor,
  stats: Tensor,
  heads: AttentionHeads,
): Tensor {
  const { tokens, variant, params, work } = prepare(record, qkv, spans, heads);
  const dqkv = record.empty(qkv.shape, "f32", "d.qkv");
  const tiles = Math.ceil(tokens / variant.workgroup);
  record.dispatch(
    backwardQ,
    variant,
    { qkv, spans, o, dout, stats, dqkv },
    params,
    [tiles, heads.num_attention_heads],
    1.5 * work,
  );
  record.dispatch(
    backwardKv,
    variant,
    { qkv, spans, dout, stats, dqkv },
    params,
    [tiles, heads.num_key_value_heads],
    2 * work,
  );
  return dqkv;
}

function prepare(record: Recorder, qkv: Tensor, spans: Tensor, heads: AttentionHeads) {
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const tokens = qkv.shape[0];
  if (h % g !== 0)
    throw new ShapeError(
      `Cannot attend with ${h} query heads over ${g} key heads: the first must be a multiple of the second`,
    );
  if (d % 4 !== 0) throw new ShapeError(`Cannot attend with head_dim ${d}: it must be a multiple of 4`);
  sameShape("attend", qkv, [tokens, (h + 2 * g) * d]);
  sameShape("attend", spans, [tokens, 2]);
  const size = record.gpu.features.subgroupSize;
  const broadcast = size === 4 || size === 8 ? size : 0;
  // Measured on both CPU adapters; a GPU's rows share nothing but the cache, and 32 fill its subgroups.
  const tile = broadcast > 0 ? { together: 16, workgroup: 16 } : { together: 8, workgroup: 32 };
  const variant = { headDim: d, heads: h, kvHeads: g, broadcast, ...tile };
  // an upper bound: it takes the batch for one sequence
  return { tokens, variant, params: { tokens, scale: 1 / Math.sqrt(d) }, work: 2 * tokens * tokens * h * d };
}

/** Rows `spans` of a packed batch from its sequence starts `cu_seqlens` (sequences + 1 entries). */
export function spansOf(cuSeqlens: ArrayLike<number>): Uint32Array {
  const tokens = cuSeqlens[cuSeqlens.length - 1];
  const spans = new Uint32Array(2 * tokens);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) spans.set([cuSeqlens[s], cuSeqlens[s + 1]], 2 * t);
  }
  return spans;
}

/** The same in float64 on the CPU, with gradients of `Σ dout·o`. */
export function attentionReference(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  spans: ArrayLike<number>,
  { num_attention_heads: h, num_key_value_heads: g, head_dim: d }: AttentionHeads,
  dout: Float64Array = new Float64Array(q.length),
) {
  const tokens = q.length / (h * d);
  const o = new Float64Array(q.length);
  const dq = new Float64Array(q.length);
  const dk = new Float64Array(k.length);
  const dv = new Float64Array(v.length);
  const scale = 1 / Math.sqrt(d);
  for (let head = 0; head < h; head++) {
    const kvHead = Math.floor(head / (h / g));
    for (let i = 0; i < tokens; i++) {
      const at = (i * h + head) * d;
      const start = spans[2 * i];
      const scores: number[] = [];
      for (let j = start; j <= i; j++) {
        let s = 0;
        for (let e = 0; e < d; e++) s += q[at + e] * k[(j * g + kvHead) * d + e];
        scores.push(s * scale);
      }
      const top = Math.max(...scores);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - top), 0);
      const p = scores.map((s) => Math.exp(s - top) / total);
      for (let j = start; j <= i; j++) {
        for (let e = 0; e < d; e++) o[at + e] += p[j - start] * v[(j * g + kvHead) * d + e];
      }
      let delta = 0;
      for (let e = 0; e < d; e++) delta += dout[at + e] * o[at + e];
      for (let j = start; j <= i; j++) {
        const to = (j * g + kvHead) * d;
        let dp = 0;
        for (let e = 0; e < d; e++) dp += dout[at + e] * v[to + e];
        const ds = p[j - start] * (dp - delta) * scale;
        for (let e = 0; e < d; e++) {
          dq[at + e] += ds * k[to + e];
          dk[to + e] += ds * q[at + e];
          dv[to + e] += p[j - start] * dout[at + e];
        }
      }
    }
  }
  return { o, dq, dk, dv };
}
