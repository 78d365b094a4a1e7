import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Hidden } from "../../kernels/matmul/layer-product.ts";
import { type DropoutSeed, type Linear, widthOf } from "../../kernels/matmul/linear.ts";
import { takesEpilogue } from "../../kernels/matmul/lora-linear.ts";
import { swiglu, swigluBackward } from "../../kernels/mlp/swiglu.ts";
import {
  type Body,
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

type Groups = "gate_up" | "down";

/** The MLP `down(silu(gate(x)) · up(x))`. */
export class SwigluBody implements Body {
  readonly linears: BodyParts<Groups>["linears"];
  readonly width: number;
  private readonly grads: BodyParts<Groups>["grads"];

  constructor(parts: BodyParts<Groups>) {
    this.linears = parts.linears;
    this.grads = parts.grads;
    this.width = parts.linears.gate_up.reduce((sum, layer) => sum + widthOf(layer), 0);
  }

  get first() {
    return this.linears.gate_up;
  }

  forward(record: Recorder, { dropoutSeed: seed, saves }: Pass, x: Tensor, { keep, into }: ForwardOptions): Trace {
    const { linears, grads } = this;
    const { activated, gateUp: whole, saved: first } = this.activate(record, x, seed, null, keep);
    const { y, saved: second } = linear(record, activated, linears.down, seed, { label: "down_proj", into });
    record.release(activated);
    const gateUp = whole && saves ? keepOnly(record, whole) : whole;
    return {
      y,
      kept: [...first, ...second, gateUp],
      again: (x) => {
        const { activated } = this.activate(record, x(), seed, first);
        const { y } = linear(record, activated, linears.down, seed, { label: "down_proj", given: second });
        record.release(activated);
        return y;
      },
      backward: (x, dy) => {
        const options = { label: "gate_up", given: first };
        const made = gateUp ? restore(record, gateUp) : linear(record, x, linears.gate_up, seed, options).y;
        // SwiGLU's output is recomputed together with its gradient
        const activated = (dActivated: Tensor) => {
          swigluBackward(record, made, dActivated);
          return dActivated;
        };
        const back = { saved: second, grads: grads.down, dropoutSeed: seed };
        record.release(linearBackward(record, activated, dy, linears.down, back));
        const before = { saved: first, grads: grads.gate_up, dropoutSeed: seed };
        return linearBackward(record, x, made, linears.gate_up, before);
      },
    };
  }

  step(record: Recorder, _pass: Pass, x: Tensor, h: readonly Hidden[], _rows: StepRows): Tensor {
    const { activated } = this.activate(record, x, null, h);
    return linear(record, activated, this.linears.down, null, { label: "down_proj" }).y;
  }

  newCache(): null {
    return null;
  }

  frozen(change: (linear: Linear) => Linear): Body {
    const linears = mapLinears(this.linears, change);
    return new SwigluBody({ linears, grads: noGrads(linears) });
  }

  /**
   * The input of the down projection: `silu(gate)·up` `[tokens, intermediate]`.
   *
   * @param keep also keep gate and up
   */
  private activate(
    record: Recorder,
    x: Tensor,
    seed: DropoutSeed | null,
    given: readonly Hidden[] | null,
    keep = false,
  ): { activated: Tensor; gateUp: Tensor | null; saved: readonly Hidden[] } {
    const { gate_up } = this.linears;
    const fused = !keep && gate_up.length === 1 && takesEpilogue(gate_up[0], "swiglu");
    const epilogue = fused ? ({ kind: "swiglu" } as const) : null;
    const { y, saved } = linear(record, x, gate_up, seed, { label: "gate_up", given, epilogue });
    if (fused) return { activated: y, gateUp: null, saved };
    const activated = swiglu(record, y);
    if (keep) return { activated, gateUp: y, saved };
    record.release(y);
    return { activated, gateUp: null, saved };
  }
}
