import {
  attentionSplitBackwardKv as backwardKv,
  attentionSplitBackwardQ as backwardQ,
  attentionSplit as forward,
} from "../../shaders/attention-split.wgsl.ts";
import { ShapeError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AttentionHeads } from "./attention.ts";

/**
 * `attentionFused` with q, k and v in tensors of their own.
 *
 * @deprecated goes when every caller has them in one
 */
export function attention(
  record: Recorder,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  spans: Tensor,
  heads: AttentionHeads,
): { o: Tensor; stats: Tensor } {
  const { tokens, variant, params, work } = prepare(record, q, k, v, spans, heads);
  const o = record.empty(q.shape, "f32", "attention.o");
  const stats = record.empty([tokens, heads.num_attention_heads, 2], "f32", "attention.stats");
  record.dispatch(
    forward,
    variant,
    { q, k, v, spans, o, stats },
    params,
    [Math.ceil(tokens / variant.workgroup), heads.num_attention_heads],
    work,
  );
  return { o, stats };
}

/** @deprecated goes with `attention` */
export function attentionBackward(
  record: Recorder,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  spans: Tensor,
  o: Tensor,
  dout: Tensor,
  stats: Tensor,
  heads: AttentionHeads,
): { dq: Tensor; dk: Tensor; dv: Tensor } {
  const { tokens, variant, params, work } = prepare(record, q, k, v, spans, heads);
  const dq = record.empty(q.shape, "f32", "d.q");
  const dk = record.empty(k.shape, "f32", "d.k");
  const dv = record.empty(v.shape, "f32", "d.v");
  const tiles = Math.ceil(tokens / variant.workgroup);
  record.dispatch(
    backwardQ,
    variant,
    { q, k, v, spans, o, dout, stats, dq },
    params,
    [tiles, heads.num_attention_heads],
    1.5 * work,
  );
  record.dispatch(
    backwardKv,
    variant,
    { q, k, v, spans, dout, stats, dk, dv },
    params,
    [tiles, heads.num_key_value_heads],
    2 * work,
  );
  return { dq, dk, dv };
}

function prepare(record: Recorder, q: Tensor, k: Tensor, v: Tensor, spans: Tensor, heads: AttentionHeads) {
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const tokens = q.shape[0];
  if (h % g !== 0)
    throw new ShapeError(
      `Cannot attend with ${h} query heads over ${g} key heads: the first must be a multiple of the second`,
    );
  if (d % 4 !== 0) throw new ShapeError(`Cannot attend with head_dim ${d}: it must be a multiple of 4`);
  const fits =
    q.shape[1] === h * d &&
    [k, v].every((t) => t.shape[0] === tokens && t.shape[1] === g * d) &&
    spans.shape[0] === tokens;
  if (!fits) {
    throw new ShapeError(
      `Cannot attend q [${q.shape}], k [${k.shape}], v [${v.shape}], spans [${spans.shape}] with ${h} and ${g} heads of ${d}`,
    );
  }
  const size = record.gpu.features.subgroupSize;
  const broadcast = size === 4 || size === 8 ? size : 0;
  // Measured on both CPU adapters; a GPU's rows share nothing but the cache, and 32 fill its subgroups.
  const tile = broadcast > 0 ? { together: 16, workgroup: 16 } : { together: 8, workgroup: 32 };
  const variant = { headDim: d, heads: h, kvHeads: g, broadcast, ...tile };
  // an upper bound: it takes the batch for one sequence
  return { tokens, variant, params: { tokens, scale: 1 / Math.sqrt(d) }, work: 2 * tokens * tokens * h * d };
}
