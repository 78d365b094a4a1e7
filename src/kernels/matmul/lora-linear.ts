import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { doraScaleOutput } from "./dora.ts";
import { doraDropped } from "./dora-linear.ts";
import { type Hidden, type LinearEpilogue, layerProduct } from "./layer-product.ts";
import { adjacent, type DropoutSeed, drop, follows, type Linear, placed, widthOf } from "./linear.ts";
import { recordProduct } from "./product.ts";
import type { Part } from "./product-spec.ts";

/** Whether this layer can apply SwiGLU or rotary as its epilogue: both halves must be in one product. */
export function takesEpilogue({ inner, parts, lora }: Linear, epilogue: "rotary" | "swiglu"): boolean {
  if (lora?.dora) return false; // its gains come first
  if (epilogue === "rotary") return parts.length === 3;
  return parts.length === 2 && parts[0].out === parts[1].out && follows(parts[0], parts[1], inner);
}

/**
 * `y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ` for every part, side by side: the low-rank product is r more steps of the same sum.
 * Records one dispatch, or two with an adapter whose `h` is not given. With DoRA, `y = g∘(…) + b` with the gains of `doraGains`: one or two
 * more dispatches.
 *
 * @param x `[rows, in]` f32
 * @param layers the layers; several if one binding cannot hold them all
 * @param dropoutSeed u32 of this forward pass, or null outside training: no dropout
 * @param given `h` of each layer, if already computed
 * @param into output tensor; default: a new one
 * @param epilogue applied before y is stored; check `takesEpilogue` first. SwiGLU halves the number of columns
 * @returns y `[rows, Σ out]` f32, and the data for `loraLinearBackward`
 * @see Hu et al. 2021, arXiv:2106.09685; loraLinearReference
 */
export function loraLinear(
  record: Recorder,
  x: Tensor,
  layers: readonly Linear[],
  dropoutSeed: DropoutSeed | null,
  options: {
    label?: string;
    given?: readonly Hidden[] | null;
    epilogue?: LinearEpilogue | null;
    into?: Tensor | null;
  } = {},
): { y: Tensor; saved: Hidden[] } {
  const { label = layers[0].weight.label, given = null, epilogue = null, into = null } = options;
  const [rows] = x.shape;
  const width = layers.reduce((sum, layer) => sum + widthOf(layer), 0);
  const columns = epilogue?.kind === "swiglu" ? width / 2 : width;
  const saved = given ? [...given] : layers.map((layer) => loraHidden(record, x, layer, dropoutSeed));
  const y = into ?? record.empty([rows, columns], "f32", label);
  let start = 0;
  layers.forEach((layer, i) => {
    const { lora } = layer;
    if (lora?.dora && drop(lora, dropoutSeed, layer.inner)) {
      doraDropped(record, x, layer, saved[i]!, dropoutSeed!, { tensor: y, first: start });
    } else {
      const bias = lora?.dora ? null : layer.bias;
      layerProduct(record, x, layer, saved[i], { tensor: y, first: start }, { bias, epilogue });
      if (lora?.dora) doraScaleOutput(record, { tensor: y, first: start }, layer);
    }
    start += widthOf(layer);
  });
  return { y, saved };
}

/** The first half of the low-rank product of one layer alone. */
export function loraHidden(record: Recorder, x: Tensor, layer: Linear, dropoutSeed: DropoutSeed | null): Hidden {
  const { lora, inner } = layer;
  if (!lora) return null;
  const [rows] = x.shape;
  const { r } = lora;
  const pairs = placed(layer).filter(({ place }) => place);
  const wide = pairs.length * r;
  const h = record.empty([rows, wide], "f32", `${layer.weight.label}.h`);
  const drops = drop(lora, dropoutSeed, inner);
  const parts = pairs.map(({ place, low }): Part => {
    return { m: rows, n: r, k: inner, bAt: place!.aAt, cAt: low, seed: drops?.seed(place!) };
  });
  recordProduct(record, {
    a: x,
    b: lora.a,
    c: h,
    transA: false,
    transB: true,
    lda: inner,
    ldb: inner,
    rowStride: wide,
    colStride: 1,
    parts: !drops && adjacent(lora, inner) ? [{ ...parts[0], n: wide }] : parts,
    shared: drops !== null,
    alpha: lora.scale,
    dropout: drops && { ...drops, on: "a" },
  });
  return h;
}
