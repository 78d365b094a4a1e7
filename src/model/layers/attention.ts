import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type AttentionHeads, attention, attentionBackward } from "../../kernels/attention/attention.ts";
import { decodeAttention, kvWrite, type LayerCache } from "../../kernels/attention/decode.ts";
import { moveHeads, sigmoidGate, sigmoidGateBackward } from "../../kernels/attention/gate.ts";
import type { Hidden, LinearEpilogue } from "../../kernels/matmul/layer-product.ts";
import type { Linear } from "../../kernels/matmul/linear.ts";
import { takesEpilogue } from "../../kernels/matmul/lora-linear.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";
import { rotary } from "../../kernels/rotary/rotary.ts";
import { cacheDType } from "../architectures/tensors.ts";
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
import { dropCopy, keepOnly, restore } from "./kept.ts";
import { linear, linearBackward } from "./linear.ts";
import type { Norm } from "./norm.ts";

type Groups = "qkv" | "o";

/** Output of the projections (with gates) before the norms of its heads, and the norms' rstd. */
interface RawHeads {
  qkv: Tensor;
  qRstd: Tensor | null;
  kRstd: Tensor | null;
}

/** Sizes and norms of attention, without its projections. */
interface AttentionParts {
  heads: AttentionHeads;
  /** norms of query and key heads, if the model has them */
  norms: { q: Norm; k: Norm } | null;
  /** a gate beside each query head */
  gate: boolean;
}

/** Softmax attention with grouped queries: `o(attend(rotate(norm(q)), rotate(norm(k)), v))`, with an optional gate on each head's output. */
export class AttentionBody implements Body {
  readonly linears: BodyParts<Groups>["linears"];
  readonly width = null;
  private readonly grads: BodyParts<Groups>["grads"];
  private readonly parts: AttentionParts;

  constructor({ linears, grads }: BodyParts<Groups>, parts: AttentionParts) {
    this.linears = linears;
    this.grads = grads;
    this.parts = parts;
  }

  get first() {
    return this.linears.qkv;
  }

  forward(record: Recorder, pass: Pass, x: Tensor, { keep, into, cache, onRead }: ForwardOptions): Trace {
    const { linears, grads } = this;
    const { heads, gate } = this.parts;
    const { dropoutSeed: seed } = pass;
    const { qkv, raw, saved: hidden } = this.project(record, pass, x);
    const rawTensors = raw ? [raw.qkv, raw.qRstd, raw.kRstd] : [];
    if (!keep && !gate) record.release(...rawTensors);
    onRead?.();
    if (cache) kvWrite(record, qkv, pass.prefill!.pairs, cache as unknown as LayerCache, heads);
    const { o, stats } = attention(record, qkv, pass.spans, heads);
    const gated = gate ? sigmoidGate(record, o, raw!.qkv, heads.head_dim) : o;
    if (!keep) record.release(qkv, ...(gate ? rawTensors : []));
    const { y, saved } = linear(record, gated, linears.o, seed, { label: "o_proj", into });
    const held = keep || !gate; // a gated output is recomputed together with its gate
    if (!held) record.release(gated);
    const keeps = (tensor: Tensor) => (pass.saves ? keepOnly(record, tensor) : tensor);
    const kept = { o: keeps(o), gated: gate && keep ? keeps(gated) : null, qkv: keep ? keeps(qkv) : null };
    const keptRaw = keep && raw ? { ...raw, qkv: keeps(raw.qkv) } : null;

    const redo = (x: Tensor) => {
      const known = kept.qkv
        ? {
            qkv: restore(record, kept.qkv),
            raw: keptRaw && { ...keptRaw, qkv: restore(record, keptRaw.qkv) },
          }
        : this.project(record, pass, x, hidden);
      const o = restore(record, kept.o);
      if (!gate) return { known, o, gated: o };
      const gated = kept.gated ? restore(record, kept.gated) : sigmoidGate(record, o, known.raw!.qkv, heads.head_dim);
      return { known, o, gated };
    };
    let redone: ReturnType<typeof redo> | null = null;
    return {
      y,
      kept: [...Object.values(kept), stats, ...hidden, ...saved, ...(keptRaw ? Object.values(keptRaw) : [])],
      again: (x) => {
        if (!held) redone = redo(x());
        const whole = kept.gated ?? kept.o;
        const input = redone?.gated ?? restore(record, whole);
        const { y } = linear(record, input, linears.o, seed, { label: "o_proj", given: saved });
        if (!redone) dropCopy(record, input, whole);
        return y;
      },
      backward: (x, dy, needsInput) => {
        const { known, o, gated } = redone ?? redo(x);
        redone = null;
        const back = { saved, grads: grads.o, dropoutSeed: seed };
        const dO = linearBackward(record, gated, dy, linears.o, back)!;
        if (!held) record.release(gated);
        const made = gate ? this.gateBackward(record, known.raw!, o, dO) : null;
        const { spans, positions, table } = pass;
        const tensors = { qkv: known.qkv, spans, o, dout: dO, stats };
        const dqkv = attentionBackward(record, tensors, heads, { rotary: { positions, table } });
        record.release(dO);
        if (known.qkv !== kept.qkv) record.release(known.qkv);
        if (known.raw) this.normsBackward(record, known.raw, dqkv);
        if (made) this.ungate(record, dqkv, made);
        const first = { saved: hidden, grads: grads.qkv, dropoutSeed: seed, needsInput };
        return linearBackward(record, x, made ?? dqkv, linears.qkv, first);
      },
    };
  }

  step(record: Recorder, pass: Pass, x: Tensor, h: readonly Hidden[], rows: StepRows, cache: BodyCache | null): Tensor {
    const { heads, gate } = this.parts;
    const { qkv, raw } = this.project(record, pass, x, h);
    const layer = cache as unknown as LayerCache;
    const o = decodeAttention(record, qkv, layer, heads, rows);
    const gated = gate ? sigmoidGate(record, o, raw!.qkv, heads.head_dim) : o;
    return linear(record, gated, this.linears.o, null, { label: "o_proj" }).y;
  }

  newCache(gpu: Gpu, label: string, slots: number, capacity: number): BodyCache {
    const { num_key_value_heads, head_dim } = this.parts.heads;
    const shape = [slots * capacity, num_key_value_heads * head_dim];
    const make = (name: string) =>
      gpu.persistent(shape, cacheDType(gpu.activations, head_dim), `${name}.${label}`, "kv_cache");
    return { keys: make("keys"), values: make("values") };
  }

  frozen(change: (linear: Linear) => Linear): Body {
    const linears = mapLinears(this.linears, change);
    const still = (norm: Norm): Norm => ({ ...norm, grad: null });
    const { norms } = this.parts;
    return new AttentionBody(
      { linears, grads: noGrads(linears) },
      { ...this.parts, norms: norms && { q: still(norms.q), k: still(norms.k) } },
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
    const { linears } = this;
    const { heads, norms, gate } = this.parts;
    const { head_dim, num_attention_heads, num_key_value_heads } = heads;
    const whole = table.shape[1] === head_dim;
    const fused = whole && !norms && !gate && linears.qkv.length === 1 && takesEpilogue(linears.qkv[0], "rotary");
    const epilogue: LinearEpilogue | null = fused ? { kind: "rotary", positions, table, headDim: head_dim } : null;
    const { y, saved } = linear(record, x, linears.qkv, dropoutSeed, { label: "qkv", given, epilogue });
    let [qkv, raw]: [Tensor, RawHeads | null] = [y, null];
    if (gate) {
      const { per, v } = headRows(heads, gate);
      qkv = record.empty([y.shape[0], per * head_dim], "f32", "qkv.heads");
      raw = { qkv: y, qRstd: null, kRstd: null };
      this.move(record, y, qkv, v);
    } else if (norms) {
      raw = { qkv: record.empty(y.shape, "f32", "qkv.raw"), qRstd: null, kRstd: null };
      record.copy(y, raw.qkv);
    }
    if (raw) this.norm(record, raw, qkv, eps);
    const rotated = { headDim: head_dim, heads: num_attention_heads + num_key_value_heads };
    if (!fused) rotary(record, qkv, { positions, table }, rotated);
    return { qkv, raw, saved };
  }

  /** Copies query and key heads from the projections' output to `qkv`, and norms them if the model does. */
  private norm(record: Recorder, raw: RawHeads, qkv: Tensor, eps: number): void {
    const { norms, heads, gate } = this.parts;
    const { q, k } = headRows(heads, gate);
    if (!norms) {
      this.move(record, raw.qkv, qkv, q);
      this.move(record, raw.qkv, qkv, k);
      return;
    }
    raw.qRstd = rmsNorm(record, raw.qkv, norms.q, eps, null, { rows: q, into: qkv }).rstd;
    raw.kRstd = rmsNorm(record, raw.qkv, norms.k, eps, null, { rows: k, into: qkv }).rstd;
  }

  private move(record: Recorder, from: Tensor, to: Tensor, { made, take, ...rows }: Rows): void {
    moveHeads(record, [from, rows], [to, made], { headDim: this.parts.heads.head_dim, take });
  }

  /** Turns the gradients of normed query and key heads into those of the raw ones, in place. */
  private normsBackward(record: Recorder, { qkv, qRstd, kRstd }: RawHeads, dqkv: Tensor): void {
    const { norms, heads, gate } = this.parts;
    if (!norms) return;
    const { q, k } = headRows(heads, gate);
    if (norms.q.grad) rmsNormWeightBackward(record, qkv, qRstd!, dqkv, norms.q.grad, q);
    if (norms.k.grad) rmsNormWeightBackward(record, qkv, kRstd!, dqkv, norms.k.grad, k);
    rmsNormBackward(record, qkv, norms.q, qRstd!, dqkv, { heads: q });
    rmsNormBackward(record, qkv, norms.k, kRstd!, dqkv, { heads: k });
  }

  /** Turns the gradient of gated heads into the gradient of the heads, in place. @returns a tensor like the projections' output, with the gates' gradients */
  private gateBackward(record: Recorder, { qkv }: RawHeads, o: Tensor, dO: Tensor): Tensor {
    const made = record.empty(qkv.shape, "f32", "d.qkv.gates");
    sigmoidGateBackward(record, { o, x: qkv }, dO, made, this.parts.heads.head_dim);
    return made;
  }

  /** Copies the gradients of the heads to their places between the gates. */
  private ungate(record: Recorder, dqkv: Tensor, made: Tensor): void {
    const { heads } = this.parts;
    const { q, k, v } = headRows(heads, true);
    for (const { made: from, take, ...to } of [q, k, v]) {
      moveHeads(record, [dqkv, from], [made, to], { headDim: heads.head_dim, take });
    }
  }
}

/** Some heads of the projections' output, and their places in q, k and v side by side. */
interface Rows {
  per: number;
  first: number;
  step: number;
  take: number;
  made: { per: number; first: number };
}

/** Places of the heads of queries, keys and values. `per` is the number of heads of q, k and v together. */
function headRows({ num_attention_heads: h, num_key_value_heads: g }: AttentionHeads, gate: boolean) {
  const per = h + 2 * g;
  const gates = gate ? h : 0;
  const rows = (first: number, take: number, step = 1): Rows => {
    return { per: per + gates, first: first === 0 ? 0 : first + gates, take, step, made: { per, first } };
  };
  return { per, q: rows(0, h, gate ? 2 : 1), k: rows(h, g), v: rows(h + g, g) };
}
