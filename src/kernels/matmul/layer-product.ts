import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type DropoutSeed, drop, follows, type Linear, placed, widthOf } from "./linear.ts";
import { recordProduct } from "./product.ts";
import type { Epilogue } from "./product-spec.ts";

/** Kept for the backward pass: `scale · dropout(x) · lora_Aᵀ` `[rows, pairs · r]`; null without an adapter. */
export type Hidden = Tensor | null;

/** An operation on the sums before they are stored: rotary with positions, or SwiGLU. */
export type LinearEpilogue = Extract<Epilogue, { kind: "rotary" }> | { kind: "swiglu" };

/** Columns of a matrix, from `first` on. */
export interface Columns {
  tensor: Tensor;
  first: number;
}

/**
 * The product of one layer, into its columns of y: `x·Wᵀ + h·Bᵀ`, without DoRA's gains.
 *
 * @param h the low-rank input; null for a layer without an adapter
 * @param y `[rows, ·]`, or half as many columns with SwiGLU
 */
export function layerProduct(
  record: Recorder,
  x: Tensor,
  layer: Linear,
  h: Hidden,
  y: Columns,
  { bias, epilogue = null }: { bias: Tensor | null; epilogue?: LinearEpilogue | null },
): void {
  const { inner, weight, lora } = layer;
  const [m] = x.shape;
  const parts = placed(layer).map(({ out, weightAt, biasAt, column, place, low }) => ({
    m,
    n: out,
    k: inner,
    r: place ? lora!.r : 0,
    bAt: weightAt,
    biasAt,
    cAt: y.first + column,
    a2At: place ? low : 0,
    b2At: place?.bAt ?? 0,
  }));
  const whole = epilogue?.kind === "swiglu" || (!epilogue && !lora && alike(layer));
  recordProduct(record, {
    a: x,
    b: weight,
    c: y.tensor,
    transA: false,
    transB: true,
    lda: inner,
    ldb: inner,
    rowStride: y.tensor.shape[1],
    colStride: 1,
    parts: whole ? [{ ...parts[0], n: widthOf(layer) }] : parts,
    shared: Boolean(lora) && !epilogue,
    low: lora && { a2: h!, b2: lora.b, lda2: h!.shape[1] },
    bias,
    epilogue: epilogue?.kind === "swiglu" ? { ...epilogue, low: [parts[0], parts[1]] } : epilogue,
  });
}

/**
 * The product of a layer's parts with an adapter, on the input that the adapter sees: `dropout(x)·Wᵀ`, and with `h` also `+ h·Bᵀ`. The
 * columns of other parts stay as they are.
 *
 * @param y `[rows, Σ out]`
 */
export function droppedProduct(
  record: Recorder,
  x: Tensor,
  layer: Linear,
  h: Hidden,
  y: Tensor,
  dropoutSeed: DropoutSeed,
): void {
  const { inner, weight } = layer;
  const lora = layer.lora!;
  const [m] = x.shape;
  const { seed, ...dropout } = drop(lora, dropoutSeed, inner)!;
  recordProduct(record, {
    a: x,
    b: weight,
    c: y,
    transA: false,
    transB: true,
    lda: inner,
    ldb: inner,
    rowStride: y.shape[1],
    colStride: 1,
    parts: placed(layer).flatMap(({ out, weightAt, column, place, low }) => {
      if (!place) return [];
      const part = { m, n: out, k: inner, bAt: weightAt, cAt: column, seed: seed(place) };
      return [h ? { ...part, r: lora.r, a2At: low, b2At: place.bAt } : part];
    }),
    shared: true,
    low: h && { a2: h, b2: lora.b, lda2: h.shape[1] },
    dropout: { ...dropout, on: "a" },
  });
}

/** Whether all parts are adjacent, so that they form one product. */
function alike({ parts, inner, bias }: Linear): boolean {
  return parts.every((part, i) => {
    if (i === 0) return true;
    const before = parts[i - 1];
    return follows(before, part, inner) && (!bias || part.biasAt === before.biasAt + before.out);
  });
}
