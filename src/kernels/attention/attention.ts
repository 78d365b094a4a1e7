import {
  attentionBackwardKv as backwardKv,
  attentionBackwardQ as backwardQ,
  attention as forward,
} from "../../../shaders/attention/attention.wgsl.ts";
import { attentionGather as gather } from "../../../shaders/attention/attention-gather.wgsl.ts";
import { attentionBytes, attentionTurns, tileRows } from "../../../shaders/attention/lib/tiles.ts";
import type { SubgroupMatrix } from "../../../shaders/matmul/lib/variant.ts";
import { ShapeError } from "../../errors.ts";
import type { GpuContext } from "../../gpu/context.ts";
import type { AdapterProfile } from "../../gpu/profile.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";
import { recordDirect, recordDirectBackward } from "./attention-direct.ts";
import { type AttentionPass, recordLanes, recordLanesBackward } from "./attention-lanes.ts";
import { matricesFor, recordAttentionMatrices, recordAttentionMatricesBackward } from "./attention-matrices.ts";
import { recordTiles } from "./tile-blocks.ts";

/** Heads of an attention layer, as config.json names them. */
export interface AttentionHeads {
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  /** whether a row sees its sequence up to itself only; default true */
  causal?: boolean;
}

/** How attention is computed: see `AdapterProfile`, or by these matrices of f16. */
export type AttentionForm = AdapterProfile["attention"] | SubgroupMatrix;

/** The forms that suit an adapter, the default first. */
export function attentionForms({ profile }: GpuContext): AdapterProfile["attention"][] {
  if (profile.kind === "gpu") return ["tiled"];
  return profile.attention === "lanes" ? ["lanes", "tiled", "direct"] : ["direct", "tiled"];
}

/** The form for heads of these sizes: matrix units where the device's precision allows them. */
function formOf(gpu: GpuContext, sizes: AttentionPass["sizes"]): AttentionForm {
  return matricesFor(gpu, sizes) ?? attentionForms(gpu)[0];
}

/**
 * Attention within each sequence of a packed batch, causal by default: `o = softmax(q·kᵀ/√head_dim)·v`, with grouped query heads.
 *
 * Flash-style: the softmax is online, no buffer grows with length². Records one dispatch, on matrix units two; more where a slow GPU would take long for one.
 *
 * @param qkv `[tokens, (num_attention_heads + 2·num_key_value_heads) · head_dim]` f32: query heads, key heads, value heads;
 *   the first two rotated
 * @param spans u32 `[tokens, 2]`: first token of the row's sequence, and one past its last; neither ever falls
 * @returns o `[tokens, num_attention_heads · head_dim]`, and stats `[tokens, heads, 2]`: the log-sum-exp of each row, and room
 *   for the backward pass
 * @throws {ShapeError} query heads are not a multiple of key heads, or head_dim is not a multiple of 4
 * @see shaders/attention/attention.wgsl.ts, shaders/attention/attention-lanes.wgsl.ts, attentionReference, arXiv:2307.08691
 */
export function attention(
  record: Recorder,
  qkv: Tensor,
  spans: Tensor,
  heads: AttentionHeads,
  asked?: AttentionForm,
): { o: Tensor; stats: Tensor } {
  const pass = prepare(qkv, spans, heads);
  const { tokens, width, sizes } = pass;
  const form = asked ?? formOf(record.gpu, sizes);
  const o = record.empty([tokens, width], "f32", "attention.o");
  const stats = record.empty([tokens, heads.num_attention_heads, 2], "f32", "attention.stats");
  const tensors = { qkv, spans, o, stats };
  if (typeof form === "object") recordAttentionMatrices(record, pass, form, tensors);
  else if (form === "lanes") recordLanes(record, pass, tensors);
  else if (form === "direct") recordDirect(record, pass, tensors);
  else {
    const { variant, turns } = tileOf(record.gpu, sizes, sizes.headDim);
    recordTiles(record, pass, { shader: forward, variant, rows: tileRows(variant), cost: 1 }, tensors, turns);
  }
  return { o, stats };
}

/**
 * Gradients of `attention` from its output and log-sum-exp, without atomics: two dispatches in the form of lanes, three in the others.
 *
 * @param tensors what went into the forward pass, what came out of it, and dout, the gradient of o; the second entries of
 *   stats are overwritten
 * @param options.rotary turns dq and dk back by the rotation that q and k went through: u32 positions `[tokens]`, and the table
 *   of `rotary`; null leaves them rotated
 * @returns dqkv, shaped like qkv
 */
export function attentionBackward(
  record: Recorder,
  tensors: Record<"qkv" | "spans" | "o" | "dout" | "stats", Tensor>,
  heads: AttentionHeads,
  options: { rotary?: { positions: Tensor; table: Tensor } | null; form?: AttentionForm } = {},
): Tensor {
  const { qkv, spans, dout, stats } = tensors;
  const { rotary = null } = options;
  const pass = prepare(qkv, spans, heads);
  const { tokens, width, sizes } = pass;
  const form = options.form ?? formOf(record.gpu, sizes);
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const parts = record.empty([tokens, 3 * width], "f32", "attention.parts");
  if (typeof form === "object") recordAttentionMatricesBackward(record, pass, form, { ...tensors, parts });
  else if (form === "lanes") recordLanesBackward(record, pass, { ...tensors, parts });
  else if (form === "direct") recordDirectBackward(record, pass, { ...tensors, parts });
  else {
    const q = tileOf(record.gpu, sizes, d, true);
    const kernelQ = { shader: backwardQ, variant: q.variant, rows: tileRows(q.variant), cost: 1.5 };
    recordTiles(record, pass, kernelQ, { ...tensors, parts }, q.turns);
    const kv = tileOf(record.gpu, sizes, 2 * d, true); // dk and dv
    const kernelKv = {
      shader: backwardKv,
      variant: kv.variant,
      rows: tileRows(kv.variant),
      keys: true,
      cost: 2,
    } as const;
    recordTiles(record, pass, kernelKv, { qkv, spans, dout, stats, parts }, kv.turns);
  }
  const dqkv = record.empty(qkv.shape, "f32", "d.qkv");
  const turned = rotary?.table.shape[1] ?? 0;
  const vector = turned % 8 === 0 && (d - turned) % 8 === 0;
  record.dispatch(
    gather,
    { headDim: d, heads: h, kvHeads: g, turned, vector, workgroup: WORKGROUP },
    { parts, dqkv, ...rotary },
    { rows: tokens },
    rowGrid(record, ((h + 2 * g) * d) / (vector ? 8 : 2), tokens),
  );
  record.release(parts);
  return dqkv;
}

/** Workgroup memory that WebGPU guarantees, in bytes. */
const SHARED = 16384;

/**
 * A tile has four rows by 16 threads, the most for 128 registers, or by 32 threads in the backward pass of long heads; it
 * processes 64 rows of the other side at once if workgroup memory and registers allow it.
 *
 * @param sums entries per row of all threads' sums
 */
function tileOf({ limits, profile }: GpuContext, sizes: AttentionPass["sizes"], sums: number, backward = false) {
  const most = Math.max(SHARED, limits.maxComputeWorkgroupStorageSize ?? 0);
  const across = profile.kind === "gpu" && backward && sizes.headDim > 128 ? 32 : 16;
  const gpu = across === 32 ? [64, 32] : sums <= 128 ? [64, 32, 16] : [32, 16];
  const spans = profile.kind === "cpu" ? [16] : gpu; // on a CPU, more rows only mean more code to compile
  const span = spans.find((span) => attentionBytes({ ...sizes, across, span }) <= most);
  if (!span) {
    throw new ShapeError(
      `Cannot attend with head_dim ${sizes.headDim}: ${spans[spans.length - 1]} keys exceed ${most} bytes of workgroup memory`,
    );
  }
  const variant = { ...sizes, rows: 4, across, span, ...(profile.kind === "cpu" && { rolled: true }) };
  return { variant, turns: attentionTurns(variant) };
}

function prepare(qkv: Tensor, spans: Tensor, heads: AttentionHeads): AttentionPass & { width: number } {
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const tokens = qkv.shape[0];
  if (h % g !== 0)
    throw new ShapeError(
      `Cannot attend with ${h} query heads and ${g} key heads: the number of query heads must be a multiple of the number of key heads`,
    );
  if (d % 4 !== 0) throw new ShapeError(`Cannot attend with head_dim ${d}: it must be a multiple of 4`);
  sameShape("attend", qkv, [tokens, (h + 2 * g) * d]);
  sameShape("attend", spans, [tokens, 2]);
  return {
    tokens,
    width: h * d,
    sizes: { headDim: d, heads: h, kvHeads: g, causal: heads.causal ?? true },
    params: { tokens, scale: 1 / Math.sqrt(d), dim: d },
    // an upper bound: treats the batch as one sequence
    work: 2 * tokens * tokens * h * d,
  };
}

/** Rows `spans` of a packed batch from its sequence starts `cu_seqlens` (sequences + 1 entries). */
export function spansOf(cuSeqlens: ArrayLike<number>): Uint32Array {
  const tokens = cuSeqlens[cuSeqlens.length - 1];
  const spans = new Uint32Array(2 * tokens);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const [start, end] = [cuSeqlens[s], cuSeqlens[s + 1]];
    for (let t = start; t < end; t++) {
      spans[2 * t] = start;
      spans[2 * t + 1] = end;
    }
  }
  return spans;
}

/** The same in float64 on the CPU, with gradients of `Σ dout·o`. */
export function attentionReference(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  spans: ArrayLike<number>,
  { num_attention_heads: h, num_key_value_heads: g, head_dim: d, causal = true }: AttentionHeads,
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
      const end = causal ? i + 1 : spans[2 * i + 1];
      const scores: number[] = [];
      for (let j = start; j < end; j++) {
        let s = 0;
        for (let e = 0; e < d; e++) s += q[at + e] * k[(j * g + kvHead) * d + e];
        scores.push(s * scale);
      }
      const top = Math.max(...scores);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - top), 0);
      const p = scores.map((s) => Math.exp(s - top) / total);
      for (let j = start; j < end; j++) {
        for (let e = 0; e < d; e++) o[at + e] += p[j - start] * v[(j * g + kvHead) * d + e];
      }
      let delta = 0;
      for (let e = 0; e < d; e++) delta += dout[at + e] * o[at + e];
      for (let j = start; j < end; j++) {
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
