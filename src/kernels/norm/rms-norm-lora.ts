import { rmsNormLora as shader } from "../../../shaders/norm/rms-norm-lora.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowThreads } from "../grid.ts";
import type { Hidden } from "../matmul/layer-product.ts";
import type { Linear } from "../matmul/linear.ts";
import { loraHidden } from "../matmul/lora-linear.ts";
import { stored } from "../matmul/stored.ts";
import { type NormScale, rmsNorm } from "./rms-norm.ts";

/** Elements of a row that fit 16 KiB of workgroup memory beside the sums. */
const MOST_COLUMNS = 3840;
/** With more rows, two dispatches are faster: the one that this kernel saves is then the smaller part. */
const MOST_ROWS = 2;
/** Narrower models would compile this kernel for longer than it saves. */
const LEAST_COLUMNS = 512;

/**
 * `rmsNorm` for the rows of a decoding pass, fused with `loraHidden` of the layer that reads its result. One dispatch for few
 * rows if the layer is one product whose pairs this kernel can read, else two or more, with the same bits. No dropout.
 *
 * @param x `[rows, cols]` f32; `delta` (same shape, or null) is added first
 * @param layers the layers that read y
 * @returns `y` and `sum` as from rmsNorm, and `h` of each layer, for `loraLinear`
 * @see shaders/norm/rms-norm-lora.wgsl.ts
 */
export function rmsNormLora(
  record: Recorder,
  x: Tensor,
  scale: NormScale,
  eps: number,
  delta: Tensor | null,
  layers: readonly Linear[],
): { y: Tensor; sum: Tensor; h: Hidden[] } {
  const { weight, zeroCentered = false } = scale;
  const [rows, cols] = x.shape;
  const lora = layers.length === 1 ? layers[0].lora : null;
  const places = lora ? lora.parts.filter((place) => place !== null) : [];
  const { normLora } = record.gpu.profile;
  const fits =
    normLora === "fused" &&
    cols % 4 === 0 &&
    cols >= LEAST_COLUMNS &&
    cols <= MOST_COLUMNS &&
    rows <= MOST_ROWS &&
    places.every(({ aAt }) => aAt % 4 === 0);
  if (!lora || !fits) {
    const { y, sum } = rmsNorm(record, x, scale, eps, delta);
    return { y, sum, h: layers.map((layer) => loraHidden(record, y, layer, null)) };
  }
  const y = record.empty(x.shape, "f32", `${x.label}.normed`);
  const sum = delta ? record.empty(x.shape, "f32", `${x.label}.sum`) : x;
  const h = record.empty([rows, places.length * lora.r], "f32", `${layers[0].weight.label}.h`);
  const [a0, a1 = 0, a2 = 0] = places.map(({ aAt }) => aAt);
  record.dispatch(
    shader,
    {
      weight: stored(weight),
      zeroCentered,
      residual: delta !== null,
      cols,
      pairs: places.length,
      workgroup: rowThreads(record.gpu),
    },
    { x, weight, y, a: lora.a, h, ...(delta && { delta, sum }) },
    { rows, r: lora.r, eps, alpha: lora.scale, a0, a1, a2 },
    [rows, 1],
    2 * rows * cols * places.length * lora.r,
  );
  return { y, sum, h: [h] };
}
