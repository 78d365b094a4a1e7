import { deltaConvReference } from "../../src/kernels/delta/conv.ts";
import { deltaGatesReference } from "../../src/kernels/delta/gates.ts";
import { deltaL2NormReference } from "../../src/kernels/delta/l2-norm.ts";
import { deltaRuleReference } from "../../src/kernels/delta/rule.ts";
import { gatedRmsNormReference } from "../../src/kernels/norm/gated-rms-norm.ts";
import type {
  AttentionSpec,
  GatedDeltaNetSpec,
  ModelConfig,
  NormSpec,
  SublayerSpec,
  SwigluSpec,
} from "../../src/model/architectures/architecture.ts";
import { architectureOf } from "../../src/model/architectures/registry.ts";
import { EMBEDDING, FINAL_NORM, HEAD, layersOf, normName } from "../../src/model/architectures/tensors.ts";
import { inverseFrequencies } from "../../src/model/layers/rope.ts";
import type { PackedBatch, Targets } from "../../src/model/transformer.ts";

/** Every tensor of a checkpoint by name, in float64. */
export type ReferenceWeights = ReadonlyMap<string, Float64Array>;
/** LoRA pairs by module path: `s·B·A` is added to the module's matrix. */
export type ReferencePairs = ReadonlyMap<string, { a: Float64Array; b: Float64Array; r: number; scale: number }>;

/** y = x·Wᵀ + b, with W `[out, inner]` as in a checkpoint. */
function linear(x: Float64Array, w: Float64Array, inner: number, bias?: Float64Array): Float64Array {
  const [rows, out] = [x.length / inner, w.length / inner];
  const y = new Float64Array(rows * out);
  for (let i = 0; i < rows; i++) {
    for (let o = 0; o < out; o++) {
      let sum = bias?.[o] ?? 0;
      for (let k = 0; k < inner; k++) sum += x[i * inner + k] * w[o * inner + k];
      y[i * out + o] = sum;
    }
  }
  return y;
}

/** Rows of `size` scaled to unit root mean square, then by w, or 1 + w. */
function norm(x: Float64Array, weight: Float64Array, eps: number, zeroCentered: boolean): Float64Array {
  const w = zeroCentered ? weight.map((value) => 1 + value) : weight;
  const size = w.length;
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += size) {
    let square = 0;
    for (let c = 0; c < size; c++) square += x[at + c] ** 2;
    const rstd = 1 / Math.sqrt(square / size + eps);
    for (let c = 0; c < size; c++) y[at + c] = x[at + c] * rstd * w[c];
  }
  return y;
}

/** Every second head of `size` elements, from `first` on. */
function headsOf(x: Float64Array, size: number, first: number): Float64Array {
  return x.filter((_, i) => Math.floor(i / size) % 2 === first);
}

/**
 * A decoder's forward pass in float64 from its description, one sequence at a time: the basis of finite differences.
 */
export class ReferenceModel {
  private readonly config: ModelConfig;
  private readonly weights: ReferenceWeights;
  private readonly pairs: ReferencePairs;

  constructor(config: ModelConfig, weights: ReferenceWeights, pairs: ReferencePairs = new Map()) {
    this.config = config;
    this.weights = weights;
    this.pairs = pairs;
  }

  /** −Σ log-probability of the targets. */
  loss({ input_ids, cu_seqlens }: PackedBatch, { rows, tokens }: Targets): number {
    const { hidden_size: hidden, tie_word_embeddings, vocab_size } = this.config;
    let loss = 0;
    for (let s = 0; s + 1 < cu_seqlens.length; s++) {
      const [start, end] = [cu_seqlens[s], cu_seqlens[s + 1]];
      const x = this.hidden(Array.from({ length: end - start }, (_, t) => input_ids[start + t]));
      rows.forEach((row, i) => {
        if (row < start || row >= end) return;
        const at = (row - start) * hidden;
        const table = this.of(tie_word_embeddings ? EMBEDDING : HEAD);
        const logits = linear(x.subarray(at, at + hidden), table, hidden);
        let most = Number.NEGATIVE_INFINITY;
        for (const logit of logits) most = Math.max(most, logit);
        let sum = 0;
        for (let v = 0; v < vocab_size; v++) sum += Math.exp(logits[v] - most);
        loss -= logits[tokens[i]] - most - Math.log(sum);
      });
    }
    return loss;
  }

  private of(name: string): Float64Array {
    return this.weights.get(name)!;
  }

  private hidden(ids: readonly number[]): Float64Array {
    const { hidden_size: hidden, rms_norm_eps: eps } = this.config;
    const embedding = this.of(EMBEDDING);
    let x = new Float64Array(ids.length * hidden);
    ids.forEach((id, t) => {
      x.set(embedding.subarray(id * hidden, (id + 1) * hidden), t * hidden);
    });
    for (const { prefix, sublayers } of layersOf(this.config)) {
      const normed = (spec: NormSpec | null, of: Float64Array) =>
        spec ? norm(of, this.of(normName(prefix, spec)), eps, spec.zeroCentered) : of;
      for (const spec of sublayers) {
        const input = normed(spec.pre, x);
        const output = normed(spec.post, this.body(spec, prefix, input));
        x = x.map((value, i) => value + output[i]);
      }
    }
    const { zeroCentered = false } = architectureOf(this.config);
    return norm(x, this.of(FINAL_NORM), eps, zeroCentered);
  }

  private body(spec: SublayerSpec, prefix: string, x: Float64Array): Float64Array {
    switch (spec.kind) {
      case "attention":
        return this.attention(spec, prefix, x);
      case "swiglu":
        return this.swiglu(spec, prefix, x);
      case "gatedDeltaNet":
        return this.deltaNet(spec, prefix, x);
      case "gelu":
        throw new Error("The reference computes language models only");
    }
  }

  private project(prefix: string, { module, inner }: { module: string; inner: number }, x: Float64Array): Float64Array {
    const path = `${prefix}.${module}`;
    const y = linear(x, this.of(`${path}.weight`), inner, this.weights.get(`${path}.bias`));
    const pair = this.pairs.get(path);
    if (!pair) return y;
    const low = linear(linear(x, pair.a, inner), pair.b, pair.r);
    return y.map((value, i) => value + pair.scale * low[i]);
  }

  private attention(spec: AttentionSpec, prefix: string, x: Float64Array): Float64Array {
    const { num_attention_heads: heads, num_key_value_heads: groups, head_dim: d } = spec.heads;
    const eps = this.config.rms_norm_eps;
    const made = spec.groups.qkv.map((projection) => this.project(prefix, projection, x));
    const gates = spec.gate ? headsOf(made[0], d, 1) : null;
    let [q, k] = [spec.gate ? headsOf(made[0], d, 0) : made[0], made[1]];
    const v = made[2];
    if (spec.norms) {
      q = norm(q, this.of(normName(prefix, spec.norms.q)), eps, spec.norms.q.zeroCentered);
      k = norm(k, this.of(normName(prefix, spec.norms.k)), eps, spec.norms.k.zeroCentered);
    }
    q = this.rotate(q, heads, d);
    k = this.rotate(k, groups, d);
    const tokens = q.length / (heads * d);
    const o = new Float64Array(q.length);
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const g = Math.floor((h * groups) / heads);
        const scores = Array.from({ length: t + 1 }, (_, s) => {
          let sum = 0;
          for (let c = 0; c < d; c++) sum += q[(t * heads + h) * d + c] * k[(s * groups + g) * d + c];
          return sum / Math.sqrt(d);
        });
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b, 0);
        weights.forEach((weight, s) => {
          for (let c = 0; c < d; c++) o[(t * heads + h) * d + c] += (weight / total) * v[(s * groups + g) * d + c];
        });
      }
    }
    const gated = gates ? o.map((value, i) => value / (1 + Math.exp(-gates[i]))) : o;
    return this.project(prefix, spec.groups.o[0], gated);
  }

  private deltaNet(spec: GatedDeltaNetSpec, prefix: string, x: Float64Array): Float64Array {
    const { num_key_heads, num_value_heads, key_head_dim: dk, value_head_dim: dv } = spec.heads;
    const { conv, rate, shift } = spec.own;
    const own = ({ name }: { name: string }) => this.of(`${prefix}.${name}`);
    const [qkv, z] = spec.groups.qkvz.map((projection) => this.project(prefix, projection, x));
    const [b, a] = spec.groups.ba.map((projection) => this.project(prefix, projection, x));
    const tokens = b.length / num_value_heads;
    const width = qkv.length / tokens;
    const u = deltaConvReference(qkv, new Array(tokens).fill([0, tokens]).flat(), own(conv));
    const cut = (from: Float64Array, stride: number, first: number, count: number) =>
      Float64Array.from(
        { length: tokens * count },
        (_, i) => from[Math.floor(i / count) * stride + first + (i % count)],
      );
    const rows = (values: Float64Array, size: number, change: (row: Float64Array, t: number) => Float64Array) =>
      Float64Array.from(
        Array.from({ length: tokens }, (_, t) => [...change(values.slice(t * size, (t + 1) * size), t)]).flat(),
      );
    const o = new Float64Array(tokens * num_value_heads * dv);
    for (let head = 0; head < num_value_heads; head++) {
      const key = Math.floor((head * num_key_heads) / num_value_heads) * dk;
      const gates = Array.from({ length: tokens }, (_, t) => {
        const at = t * num_value_heads + head;
        return deltaGatesReference(a[at], b[at], own(rate)[head], own(shift)[head]);
      });
      const made = deltaRuleReference({
        q: rows(cut(u, width, key, dk), dk, (row) => deltaL2NormReference(row, 1 / Math.sqrt(dk))),
        k: rows(cut(u, width, num_key_heads * dk + key, dk), dk, (row) => deltaL2NormReference(row, 1)),
        v: cut(u, width, 2 * num_key_heads * dk + head * dv, dv),
        g: Float64Array.from(gates, ({ g }) => g),
        beta: Float64Array.from(gates, ({ beta }) => beta),
      });
      const gate = cut(z, num_value_heads * dv, head * dv, dv);
      const weight = this.of(normName(prefix, spec.norm));
      rows(made.o, dv, (row, t) => {
        const { y } = gatedRmsNormReference(row, gate.slice(t * dv, (t + 1) * dv), weight, this.config.rms_norm_eps);
        o.set(y, (t * num_value_heads + head) * dv);
        return y;
      });
    }
    return this.project(prefix, spec.groups.out[0], o);
  }

  private rotate(x: Float64Array, heads: number, d: number): Float64Array {
    const frequencies = inverseFrequencies(this.config);
    const half = frequencies.length;
    const y = x.slice();
    for (let at = 0; at < x.length; at += d) {
      const position = Math.floor(at / (heads * d));
      for (let i = 0; i < half; i++) {
        const [cosine, sine] = [Math.cos(position * frequencies[i]), Math.sin(position * frequencies[i])];
        y[at + i] = x[at + i] * cosine - x[at + half + i] * sine;
        y[at + half + i] = x[at + half + i] * cosine + x[at + i] * sine;
      }
    }
    return y;
  }

  private swiglu(spec: SwigluSpec, prefix: string, x: Float64Array): Float64Array {
    const [gate, up] = spec.groups.gate_up.map((projection) => this.project(prefix, projection, x));
    const activated = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
    return this.project(prefix, spec.groups.down[0], activated);
  }
}
