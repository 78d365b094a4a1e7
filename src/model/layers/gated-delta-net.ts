import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { deltaConv, deltaConvBackward, deltaConvFill, deltaConvStep } from "../../kernels/delta/conv.ts";
import { deltaGates, deltaGatesBackward } from "../../kernels/delta/gates.ts";
import { type DeltaHeads, deltaWidth } from "../../kernels/delta/heads.ts";
import { deltaL2Norm, deltaL2NormBackward } from "../../kernels/delta/l2-norm.ts";
import { deltaRule, deltaRuleBackward } from "../../kernels/delta/rule.ts";
import { deltaFill, deltaStep } from "../../kernels/delta/step.ts";
import type { Hidden } from "../../kernels/matmul/layer-product.ts";
import type { Linear } from "../../kernels/matmul/linear.ts";
import { gatedRmsNorm, gatedRmsNormBackward } from "../../kernels/norm/gated-rms-norm.ts";
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
import { keepOnly, restore } from "./kept.ts";
import { linear, linearBackward } from "./linear.ts";
import type { Weight } from "./norm.ts";

type Groups = "qkvz" | "ba" | "out";

/** Weights and sizes of a gated delta net, without its projections. */
interface DeltaParts {
  heads: DeltaHeads;
  /** filters `[channels, 1, 4]` */
  conv: Weight;
  /** A_log and dt_bias `[num_value_heads]` */
  rate: Weight;
  shift: Weight;
  /** scale of each head's output `[value_head_dim]` */
  norm: Weight;
}

/** Inputs of the delta rule, and what the backward pass needs. */
interface Mixed {
  /** queries, keys and values `[tokens, channels]`, the first two normed */
  u: Tensor;
  scales: Tensor;
  gates: Tensor;
}

/** A gated delta net: `out(norm(rule(l2(conv(q)), l2(conv(k)), conv(v), gates(b, a))) · silu(z))`. */
export class GatedDeltaNetBody implements Body {
  readonly linears: BodyParts<Groups>["linears"];
  readonly width = null;
  private readonly grads: BodyParts<Groups>["grads"];
  private readonly parts: DeltaParts;

  constructor({ linears, grads }: BodyParts<Groups>, parts: DeltaParts) {
    this.linears = linears;
    this.grads = grads;
    this.parts = parts;
  }

  /** q, k, v, z, b and a, side by side. */
  get first() {
    return [...this.linears.qkvz, ...this.linears.ba];
  }

  forward(record: Recorder, pass: Pass, x: Tensor, { keep, into, cache, onRead }: ForwardOptions): Trace {
    const { linears, grads } = this;
    const { heads, norm } = this.parts;
    const { dropoutSeed: seed, eps } = pass;
    const { y: made, saved: hidden } = linear(record, x, this.first, seed, { label: "qkvzba" });
    onRead?.();
    const mixed = this.mix(record, pass, made);
    const o = cache ? this.fill(record, pass, made, mixed, cache) : this.rule(record, pass, mixed).o;
    const { y: gated, rstd } = gatedRmsNorm(record, o, this.gateOf(made), norm.weight, eps);
    record.release(o);
    const { y, saved } = linear(record, gated, linears.out, seed, { label: "out_proj", into });
    if (!keep) record.release(made, ...Object.values(mixed), gated, rstd);
    const keeps = (tensor: Tensor) => (pass.saves ? keepOnly(record, tensor) : tensor);
    // gates and the scales of norms are few, and exponents follow them: f32
    const held = keep ? { made: keeps(made), mixed: { ...mixed, u: keeps(mixed.u) }, gated: keeps(gated), rstd } : null;

    const redo = (x: Tensor) => {
      const made = held
        ? restore(record, held.made)
        : linear(record, x, this.first, seed, { label: "qkvzba", given: hidden }).y;
      const mixed = held ? { ...held.mixed, u: restore(record, held.mixed.u) } : this.mix(record, pass, made);
      const { o, kept } = this.rule(record, pass, mixed, true);
      const normed = held ? { gated: restore(record, held.gated), rstd: held.rstd } : this.normed(record, o, made, eps);
      return { made, mixed, o, kept, gated: normed.gated, rstd: normed.rstd };
    };
    // what the replay of the block recomputed is used once more by the backward pass, so that the rule runs once for both
    let redone: ReturnType<typeof redo> | null = null;
    return {
      y,
      kept: [...hidden, ...saved, ...(held ? [held.made, ...Object.values(held.mixed), held.gated, held.rstd] : [])],
      again: (x) => {
        redone = redo(x());
        return linear(record, redone.gated, linears.out, seed, { label: "out_proj", given: saved }).y;
      },
      backward: (x, dy, needsInput) => {
        const { made, mixed, o, kept, gated, rstd } = redone ?? redo(x);
        redone = null;
        const dO = linearBackward(record, gated, dy, linears.out, { saved, grads: grads.out, dropoutSeed: seed })!;
        if (!held) record.release(gated);
        const dMade = record.empty(made.shape, "f32", "d.qkvzba");
        const normed = { x: o, columns: this.gateOf(made), weight: norm.weight, rstd };
        gatedRmsNormBackward(record, normed, dO, { dgate: dMade, dweight: norm.grad });
        record.release(o);
        const du = record.empty(mixed.u.shape, "f32", "d.delta.qkv");
        const input = { ...mixed, chunks: pass.chunks! };
        const back = deltaRuleBackward(record, input, kept, { dout: dO, du }, heads);
        record.release(dO);
        this.mixBackward(record, pass, { made, mixed }, { ...back, du }, dMade);
        record.release(du, back.parts, back.dgates, ...(held ? [] : [made, rstd, ...Object.values(mixed)]));
        const first = { saved: hidden, grads: [...grads.qkvz, ...grads.ba], dropoutSeed: seed, needsInput };
        return linearBackward(record, x, dMade, this.first, first);
      },
    };
  }

  step(record: Recorder, pass: Pass, x: Tensor, h: readonly Hidden[], rows: StepRows, cache: BodyCache | null): Tensor {
    const { heads, conv, norm } = this.parts;
    const { columns, states } = cache!;
    const { y: made } = linear(record, x, this.first, null, { label: "qkvzba", given: h });
    const u = deltaConvStep(record, made, conv.weight, rows, columns);
    deltaL2Norm(record, u, heads);
    const gates = deltaGates(record, made, this.gatesAt, this.rates);
    const o = deltaStep(record, { u, gates }, heads, rows, states);
    const { y } = gatedRmsNorm(record, o, this.gateOf(made), norm.weight, pass.eps);
    return linear(record, y, this.linears.out, null, { label: "out_proj" }).y;
  }

  newCache(gpu: Gpu, label: string, slots: number, _capacity: number): BodyCache {
    const { heads } = this.parts;
    const { num_value_heads, key_head_dim, value_head_dim } = heads;
    const make = (name: string, shape: readonly number[]) =>
      gpu.persistent(shape, "f32", `${name}.${label}`, "kv_cache");
    return {
      columns: make("columns", [slots, 3, deltaWidth(heads)]),
      states: make("states", [slots, num_value_heads, key_head_dim, value_head_dim]),
    };
  }

  frozen(change: (linear: Linear) => Linear): Body {
    const linears = mapLinears(this.linears, change);
    const still = (weight: Weight): Weight => ({ ...weight, grad: null });
    const { heads, conv, rate, shift, norm } = this.parts;
    return new GatedDeltaNetBody(
      { linears, grads: noGrads(linears) },
      { heads, conv: still(conv), rate: still(rate), shift: still(shift), norm: still(norm) },
    );
  }

  private get rates() {
    const { rate, shift } = this.parts;
    return { rate: rate.weight, bias: shift.weight };
  }

  /** The column of b, behind q, k, v and z. */
  private get gatesAt(): number {
    const { heads } = this.parts;
    return deltaWidth(heads) + heads.num_value_heads * heads.value_head_dim;
  }

  private normed(record: Recorder, o: Tensor, made: Tensor, eps: number): { gated: Tensor; rstd: Tensor } {
    const { y, rstd } = gatedRmsNorm(record, o, this.gateOf(made), this.parts.norm.weight, eps);
    return { gated: y, rstd };
  }

  private gateOf(made: Tensor) {
    return { gate: made, first: deltaWidth(this.parts.heads) };
  }

  private rule(record: Recorder, pass: Pass, { u, gates }: Mixed, keep = false) {
    return deltaRule(record, { u, gates, chunks: pass.chunks! }, this.parts.heads, { keep });
  }

  private mix(record: Recorder, { spans }: Pass, made: Tensor): Mixed {
    const { heads, conv } = this.parts;
    const u = deltaConv(record, made, spans, conv.weight);
    const scales = deltaL2Norm(record, u, heads);
    return { u, scales, gates: deltaGates(record, made, this.gatesAt, this.rates) };
  }

  /** @param dMade gradient of what the projections gave: the columns of q, k, v, b and a are written */
  private mixBackward(
    record: Recorder,
    { spans }: Pass,
    { made, mixed }: { made: Tensor; mixed: Mixed },
    { du, parts, dgates }: Record<"du" | "parts" | "dgates", Tensor>,
    dMade: Tensor,
  ): void {
    const { heads, conv, rate, shift } = this.parts;
    deltaL2NormBackward(record, { y: mixed.u, scales: mixed.scales }, parts, du, heads);
    const gated = { x: made, at: this.gatesAt, gates: mixed.gates, rates: this.rates };
    const grads = rate.grad && shift.grad ? { rate: rate.grad, bias: shift.grad } : null;
    deltaGatesBackward(record, gated, dgates, dMade, grads);
    const input = { x: made, spans, weight: conv.weight };
    deltaConvBackward(record, input, du, { dx: dMade, dweight: conv.grad });
  }

  /** The rule for prompts: copies the last states and inputs to the slots of each prompt. */
  private fill(record: Recorder, pass: Pass, made: Tensor, { u, gates }: Mixed, cache: BodyCache): Tensor {
    const { heads } = this.parts;
    const { spans, prefill } = pass;
    const { ends } = prefill!;
    const chunks = pass.chunks!;
    const [, ...shape] = cache.states.shape;
    const states = record.empty([chunks.sequences, ...shape], "f32", "delta.ends");
    const { o } = deltaRule(record, { u, gates, chunks }, heads, { ends: states });
    deltaFill(record, states, ends, cache.states);
    deltaConvFill(record, made, spans, ends, cache.columns);
    record.release(states);
    return o;
  }
}
