import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { widthOf } from "../../kernels/matmul/linear.ts";
import { type GeluKind, gelu, geluBackward } from "../../kernels/mlp/gelu.ts";
import { type Body, type BodyParts, type ForwardOptions, mapLinears, noGrads, type Pass, type Trace } from "./body.ts";
import { keepOnly, restore } from "./kept.ts";
import { linear, linearBackward } from "./linear.ts";

type Groups = "up" | "down";

/** The MLP `down(gelu(up(x)))`. */
export class GeluBody implements Body {
  readonly linears: BodyParts<Groups>["linears"];
  readonly width: number;
  private readonly grads: BodyParts<Groups>["grads"];
  private readonly activation: GeluKind;

  constructor(parts: BodyParts<Groups>, activation: GeluKind) {
    this.linears = parts.linears;
    this.grads = parts.grads;
    this.activation = activation;
    this.width = parts.linears.up.reduce((sum, layer) => sum + widthOf(layer), 0);
  }

  get first() {
    return this.linears.up;
  }

  forward(record: Recorder, { dropoutSeed: seed, saves }: Pass, x: Tensor, { keep, into }: ForwardOptions): Trace {
    const { linears, grads, activation } = this;
    const up = linear(record, x, linears.up, seed, { label: "gelu.up" });
    const activated = gelu(record, up.y, activation);
    if (!keep) record.release(up.y);
    const { y, saved } = linear(record, activated, linears.down, seed, { label: "gelu.down", into });
    record.release(activated);
    const held = keep && saves ? keepOnly(record, up.y) : up.y;
    const again = (x: Tensor) => linear(record, x, linears.up, seed, { label: "gelu.up", given: up.saved }).y;
    return {
      y,
      kept: [...up.saved, ...saved, ...(keep ? [held] : [])],
      again: (x) => {
        const made = again(x());
        const activated = gelu(record, made, activation);
        const { y } = linear(record, activated, linears.down, seed, { label: "gelu.down", given: saved });
        record.release(made, activated);
        return y;
      },
      backward: (x, dy, needsInput) => {
        const made = keep ? restore(record, held) : again(x);
        // GELU's output is recomputed together with its gradient
        const activated = (dActivated: Tensor) => {
          geluBackward(record, made, dActivated, activation);
          return dActivated;
        };
        const back = { saved, grads: grads.down, dropoutSeed: seed };
        record.release(linearBackward(record, activated, dy, linears.down, back));
        const before = { saved: up.saved, grads: grads.up, dropoutSeed: seed, needsInput };
        return linearBackward(record, x, made, linears.up, before);
      },
    };
  }

  step(record: Recorder, _pass: Pass, x: Tensor): Tensor {
    const activated = gelu(record, linear(record, x, this.linears.up, null, {}).y, this.activation);
    return linear(record, activated, this.linears.down, null, { label: "gelu.down" }).y;
  }

  newCache(): null {
    return null;
  }

  frozen(change: (linear: Body["first"][number]) => Body["first"][number]): Body {
    const linears = mapLinears(this.linears, change);
    return new GeluBody({ linears, grads: noGrads(linears) }, this.activation);
  }
}
