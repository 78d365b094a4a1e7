import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { doraScaleColumns, magnitudeBackward, maskedAdd } from "./dora.ts";
import { type Columns, droppedProduct, type Hidden, layerProduct } from "./layer-product.ts";
import { type DropoutSeed, drop, type Linear, placed, widthOf } from "./linear.ts";
import { recordProduct } from "./product.ts";

// DoRA's parts of `loraLinear` and its backward pass. With dropout, PEFT feeds the dropped input to the whole adapted
// layer, not only to lora_A: y = x·Wᵀ + b + (g − 1)∘(x_d·Wᵀ) + g∘(h·Bᵀ), with x_d = dropout(x) and the gains g.

/**
 * A layer with DoRA and dropout, into its columns of y.
 *
 * @param h low-rank input, from the dropped x
 */
export function doraDropped(
  record: Recorder,
  x: Tensor,
  layer: Linear,
  h: Tensor,
  dropoutSeed: DropoutSeed,
  y: Columns,
): void {
  const { gains } = layer.lora!.dora!;
  const lora = layer.lora!;
  layerProduct(record, x, { ...layer, lora: null }, null, y, { bias: layer.bias });
  record.scope(() => {
    const part = record.empty([x.shape[0], widthOf(layer)], "f32", `${layer.weight.label}.dropped`);
    const pairs = placed(layer).filter(({ place }) => place);
    const add = (less: 0 | 1) => {
      for (const { column, out: count } of pairs) {
        const to = { tensor: y.tensor, first: y.first + column };
        doraScaleColumns(record, { tensor: part, first: column }, to, gains, { count, gainAt: column, less }, true);
      }
    };
    droppedProduct(record, x, layer, null, part, dropoutSeed);
    add(1);
    recordProduct(record, {
      a: h,
      b: lora.b,
      c: part,
      transA: false,
      transB: true,
      lda: h.shape[1],
      ldb: lora.r,
      rowStride: part.shape[1],
      colStride: 1,
      parts: pairs.map(({ out, column, low, place }) => {
        return { m: x.shape[0], n: out, k: lora.r, aAt: low, bAt: place!.bAt, cAt: column };
      }),
      shared: true,
    });
    add(0);
  });
}

/** Gradient of a layer's output times `gain − less`. @returns `[rows, Σ out]` */
export function gainedGradient(record: Recorder, dy: Columns, layer: Linear, less: 0 | 1 = 0): Tensor {
  const width = widthOf(layer);
  const gained = record.empty([dy.tensor.shape[0], width], "f32", `d.${layer.weight.label}.gained`);
  const { gains } = layer.lora!.dora!;
  doraScaleColumns(record, dy, { tensor: gained, first: 0 }, gains, { count: width, gainAt: 0, less });
  return gained;
}

/**
 * The part of dx that dropout masks, of a layer with DoRA and dropout: `dx += mask∘(((g − 1)∘dy)·W + dh·A)`, pair by pair.
 *
 * @param dh `s·(g∘dy)·B` `[rows, pairs · r]`
 */
export function droppedInputGradient(
  record: Recorder,
  dy: Columns,
  dh: Tensor,
  layer: Linear,
  dropoutSeed: DropoutSeed,
  dx: Tensor,
): void {
  const { inner, weight } = layer;
  const lora = layer.lora!;
  const [rows] = dx.shape;
  const { seed, p, row } = drop(lora, dropoutSeed, inner)!;
  record.scope(() => {
    const rest = gainedGradient(record, dy, layer, 1);
    const masked = record.empty(dx.shape, "f32", `${dx.label}.dropped`);
    for (const { out, column, weightAt, place, low } of placed(layer)) {
      if (!place) continue;
      recordProduct(record, {
        a: rest,
        b: weight,
        c: masked,
        transA: false,
        transB: false,
        lda: rest.shape[1],
        ldb: inner,
        rowStride: inner,
        colStride: 1,
        parts: [{ m: rows, n: inner, k: out, aAt: column, bAt: weightAt, r: lora.r, a2At: low, b2At: place.aAt }],
        low: { a2: dh, b2: lora.a, lda2: dh.shape[1] },
      });
      maskedAdd(record, dx, masked, { seed: seed(place), p, row });
    }
  });
}

/**
 * Gradients of a layer's magnitudes, accumulated. Computes the layer's output before gains again, from x and h: as
 * much work as its forward pass.
 */
export function magnitudeGradients(
  record: Recorder,
  x: Tensor,
  dy: Columns,
  layer: Linear,
  { h, dropoutSeed, dMagnitude }: { h: Hidden; dropoutSeed: DropoutSeed | null; dMagnitude: Tensor },
): void {
  record.scope(() => {
    const u = record.empty([x.shape[0], widthOf(layer)], "f32", `${layer.weight.label}.again`);
    if (drop(layer.lora!, dropoutSeed, layer.inner)) droppedProduct(record, x, layer, h, u, dropoutSeed!);
    else layerProduct(record, x, layer, h, { tensor: u, first: 0 }, { bias: null });
    placed(layer).forEach(({ column, place }, part) => {
      if (!place) return;
      const of = { tensor: dy.tensor, first: dy.first + column };
      magnitudeBackward(record, of, { tensor: u, first: column }, layer, part, dMagnitude);
    });
  });
}
