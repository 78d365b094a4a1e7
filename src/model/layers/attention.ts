import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type AttentionHeads, attention, attentionBackward } from "../../kernels/attention/attention.ts";
import { decodeAttention, kvWrite, type LayerCache } from "../../kernels/attention/decode.ts";
import type { Linear } from "../../kernels/matmul/linear.ts";
import { type Hidden, type LinearEpilogue, takesEpilogue } from "../../kernels/matmul/lora-linear.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";
import { rotary } from "../../kernels/rotary/rotary.ts";
import {
  type Body,
  type BodyCache,
  type BodyParts,
  type ForwardOptions,
  mapLinears,
  noGrads,
  type Pass,
  type StepRows,
  type Trace,
} from "./body.ts";
import { linear, linearBackward } from "./linear.ts";
import type { Norm } from "./norm.ts";

type Groups = "qkv" | "o";

/** q, k and v before the norms of their heads, and the norms' rstd. */
interface RawHeads {
  qkv: Tensor;
  qRstd: Tensor;
  kRstd: Tensor;
}

/** Softmax attention with grouped queries: `o(attend(rotate(norm(q)), rotate(norm(k)), v))`. */
export class AttentionBody implements Body {
  readonly linears: BodyParts<Groups>["linears"];
  readonly width = null;
  private readonly grads: BodyParts<Groups>["grads"];
  private readonly heads: AttentionHeads;
  /** norm scales of query and key heads, [head_dim] each, if the model has them */
  private readonly norms: { q: Norm; k: Norm } | null;

  constructor(parts: BodyParts<Groups>, heads: AttentionHeads, norms: { q: Norm; k: Norm } | null) {
    this.linears = parts.linears;
    this.grads = parts.grads;
    this.heads = heads;
    this.norms = norms;
  }

  get first() {
    return this.linears.qkv;
  }

  forward(record: Recorder, pass: Pass, x: Tensor, { keep, into, cache, onRead }: ForwardOptions): Trace {
    const { linears, grads, heads } = this;
    const { dropoutSeed: seed } = pass;
    const { qkv, raw, saved: hidden } = this.project(record, pass, x);
    if (!keep) record.release(...Object.values(raw ?? {}));
    onRead?.();
    if (cache) kvWrite(record, qkv, pass.prefill!, cache as unknown as LayerCache, heads);
    const { o, stats } = attention(record, qkv, pass.spans, heads);
    if (!keep) record.release(qkv);
    const { y, saved } = linear(record, o, linears.o, seed, { label: "o_proj", into });
    return {
      y,
      kept: [o, stats, ...hidden, ...saved, ...(keep ? [qkv, ...Object.values(raw ?? {})] : [])],
      again: () => linear(record, o, linears.o, seed, { label: "o_proj", given: saved }).y,
      backward: (x, dy, needsInput) => {
        const known = keep ? { qkv, raw } : this.project(record, pass, x, hidden);
        const back = { saved, grads: grads.o, dropoutSeed: seed };
        const dO = linearBackward(record, o, dy, linears.o, back)!;
        const { spans, positions, table } = pass;
        const tensors = { qkv: known.qkv, spans, o, dout: dO, stats };
        const dqkv = attentionBackward(record, tensors, heads, { rotary: { positions, table } });
        record.release(dO);
        if (!keep) record.release(known.qkv);
        if (known.raw) this.normsBackward(record, known.raw, dqkv);
        const first = { saved: hidden, grads: grads.qkv, dropoutSeed: seed, needsInput };
        return linearBackward(record, x, dqkv, linears.qkv, first);
      },
    };
  }

  step(record: Recorder, pass: Pass, x: Tensor, h: readonly Hidden[], rows: StepRows, cache: BodyCache | null): Tensor {
    const { heads, linears } = this;
    const { qkv } = this.project(record, pass, x, h);
    const layer = cache as unknown as LayerCache;
    const o = decodeAttention(record, qkv, layer, heads, rows);
    return linear(record, o, linears.o, null, { label: "o_proj" }).y;
  }

  newCache(gpu: Gpu, label: string, slots: number, capacity: number): BodyCache {
    const { num_key_value_heads, head_dim } = this.heads;
    const shape = [slots * capacity, num_key_value_heads * head_dim];
    const make = (name: string) => gpu.persistent(shape, "f32", `${name}.${label}`, "kv_cache");
    return { keys: make("keys"), values: make("values") };
  }

  frozen(change: (linear: Linear) => Linear): Body {
    const linears = mapLinears(this.linears, change);
    const still = (norm: Norm): Norm => ({ ...norm, grad: null });
    const { norms } = this;
    return new AttentionBody(
      { linears, grads: noGrads(linears) },
      this.heads,
      norms && { q: still(norms.q), k: still(norms.k) },
    );
  }

  /**
   * Queries, keys and values; heads normed if the model has head norms; queries and keys rotated.
   *
   * @param given low-rank inputs, if already computed
   * @returns qkv `[tokens, (heads + 2·kvHeads)·head_dim]`
   */
  private project(
    record: Recorder,
    { eps, table, positions, dropoutSeed }: Pass,
    x: Tensor,
    given: readonly Hidden[] | null = null,
  ): { qkv: Tensor; raw: RawHeads | null; saved: readonly Hidden[] } {
    const { heads, norms, linears } = this;
    const { head_dim, num_attention_heads, num_key_value_heads } = heads;
    const fused = !norms && linears.qkv.length === 1 && takesEpilogue(linears.qkv[0], "rotary");
    const epilogue: LinearEpilogue | null = fused ? { kind: "rotary", positions, table, headDim: head_dim } : null;
    const { y: qkv, saved } = linear(record, x, linears.qkv, dropoutSeed, { label: "qkv", given, epilogue });
    let raw: RawHeads | null = null;
    if (norms) {
      const before = record.empty(qkv.shape, "f32", "qkv.raw");
      record.copy(qkv, before);
      const { q, k } = headRows(heads);
      const { rstd: qRstd } = rmsNorm(record, before, norms.q.weight, eps, null, { rows: q, into: qkv });
      const { rstd: kRstd } = rmsNorm(record, before, norms.k.weight, eps, null, { rows: k, into: qkv });
      raw = { qkv: before, qRstd, kRstd };
    }
    const rotated = { headDim: head_dim, heads: num_attention_heads + num_key_value_heads };
    if (!fused) rotary(record, qkv, { positions, table }, rotated);
    return { qkv, raw, saved };
  }

  /** Turns the gradients of normed query and key heads into the gradients of the raw heads, in place. */
  private normsBackward(record: Recorder, { qkv, qRstd, kRstd }: RawHeads, dqkv: Tensor): void {
    const { q: qNorm, k: kNorm } = this.norms!;
    const { q, k } = headRows(this.heads);
    if (qNorm.grad) rmsNormWeightBackward(record, qkv, qRstd, dqkv, qNorm.grad, q);
    if (kNorm.grad) rmsNormWeightBackward(record, qkv, kRstd, dqkv, kNorm.grad, k);
    rmsNormBackward(record, qkv, qNorm.weight, qRstd, dqkv, { heads: q });
    rmsNormBackward(record, qkv, kNorm.weight, kRstd, dqkv, { heads: k });
  }
}

/** The positions of query and key heads in a row of q, k and v. */
function headRows({ num_attention_heads: h, num_key_value_heads: g }: AttentionHeads) {
  const per = h + 2 * g;
  return { q: { per, first: 0, take: h }, k: { per, first: h, take: g } };
}
