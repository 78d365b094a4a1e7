import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { biasBackward } from "../elementwise.ts";
import { droppedInputGradient, gainedGradient, magnitudeGradients } from "./dora-linear.ts";
import type { Hidden } from "./layer-product.ts";
import {
  adjacent,
  type DropoutSeed,
  drop,
  type Linear,
  type LinearGrads,
  type LoraPlace,
  placed,
  runs,
  widthOf,
} from "./linear.ts";
import { recordProduct } from "./product.ts";
import type { Part } from "./product-spec.ts";

/** Inputs of the backward pass beside the gradient of the output. */
interface LinearBack {
  /** `h` of each layer from the forward pass */
  saved: readonly Hidden[];
  /** gradients of each layer, accumulated */
  grads: readonly LinearGrads[];
  /** dropout seed of the forward pass */
  dropoutSeed: DropoutSeed | null;
  /** false if the input needs no gradient: dx is then null; default true */
  needsInput?: boolean;
}

/** One of the layers, with its tensors. */
interface LayerBack {
  layer: Linear;
  h: Hidden;
  grads: LinearGrads;
  dropoutSeed: DropoutSeed | null;
  /** gradient of all layers' outputs, side by side, and this layer's first column in it */
  dy: Tensor;
  start: number;
}

/**
 * Gradients of `loraLinear`: `dx = dy·W + mask∘(s·(dy·B)·A)`, `dB += dyᵀ·h`, `dA += (s·dy·B)ᵀ·dropout(x)`; and for a trained
 * layer `dW += dyᵀ·x`, `db += Σ_rows dy`. Records four dispatches for a frozen layer with an adapter, and one more for
 * each further pair whose dropout masks another copy of x.
 *
 * @param x `[rows, in]` f32, or a function that returns it after dx is computed, perhaps in the same memory
 * @param dy `[rows, Σ out]` f32
 * @returns dx `[rows, in]`
 */
export function loraLinearBackward(
  record: Recorder,
  x: Tensor | ((dx: Tensor) => Tensor),
  dy: Tensor,
  layers: readonly Linear[],
  { saved, grads, dropoutSeed, needsInput = true }: LinearBack,
): Tensor | null {
  return record.scope(() => {
    const backs = layers.map((layer, i): LayerBack => {
      const start = layers.slice(0, i).reduce((sum, before) => sum + widthOf(before), 0);
      return { layer, h: saved[i], grads: grads[i], dropoutSeed, dy, start };
    });
    let dx: Tensor | null = null;
    const hidden = backs.map((back) => {
      const gained = gainedBack(record, back);
      const dh = back.layer.lora && outputGradients(record, gained);
      if (needsInput || typeof x === "function") dx = inputGradients(record, back, gained, dh, dx);
      if (gained !== back) record.release(gained.dy);
      return dh;
    });
    const input = typeof x === "function" ? x(dx!) : x;
    backs.forEach((back, i) => {
      weightGradients(record, back, input);
      if (hidden[i] && back.grads.loraA) downGradient(record, back, input, hidden[i]);
      if (back.grads.magnitude) {
        const { h, dropoutSeed, grads, layer, dy: tensor, start: first } = back;
        const given = { h, dropoutSeed, dMagnitude: grads.magnitude! };
        magnitudeGradients(record, input, { tensor, first }, layer, given);
      }
    });
    return dx;
  });
}

/** The same with dy times DoRA's gains, which is the gradient of the product before them. */
function gainedBack(record: Recorder, back: LayerBack): LayerBack {
  const { layer, dy: tensor, start: first } = back;
  return layer.lora?.dora ? { ...back, dy: gainedGradient(record, { tensor, first }, layer), start: 0 } : back;
}

/** dW and db of one layer, if trained. */
function weightGradients(record: Recorder, { layer, grads, dy, start }: LayerBack, x: Tensor): void {
  const { inner, parts } = layer;
  const [rows, width] = dy.shape;
  if (grads.weight) {
    for (const { first, out, weightAt } of runs(layer)) {
      recordProduct(record, {
        a: dy,
        b: x,
        c: grads.weight,
        transA: true,
        transB: false,
        lda: width,
        ldb: inner,
        rowStride: inner,
        colStride: 1,
        parts: [{ m: out, n: inner, k: rows, aAt: start + first, cAt: weightAt }],
        accumulate: true,
      });
    }
  }
  if (!grads.bias) return;
  let column = start;
  for (const { out, biasAt } of parts) {
    biasBackward(record, dy, grads.bias, { column, count: out, at: biasAt });
    column += out;
  }
}

/** dB of one layer's pairs. @returns `s·dy·B` `[rows, pairs · r]` */
function outputGradients(record: Recorder, { layer, grads, h, dy, start }: LayerBack): Tensor {
  const lora = layer.lora!;
  const { r } = lora;
  const [rows, width] = dy.shape;
  const pairs = placed(layer).filter(({ place }) => place);
  const wide = pairs.length * r;
  const dh = record.empty([rows, wide], "f32", `d.${layer.weight.label}.h`);
  const of = (part: (pair: (typeof pairs)[number], place: LoraPlace) => Part) =>
    pairs.map((pair) => part(pair, pair.place!));
  recordProduct(record, {
    a: dy,
    b: lora.b,
    c: dh,
    transA: false,
    transB: false,
    lda: width,
    ldb: r,
    rowStride: wide,
    colStride: 1,
    parts: of(({ out, column, low }, { bAt }) => ({ m: rows, n: r, k: out, aAt: start + column, bAt, cAt: low })),
    shared: true,
    alpha: lora.scale,
  });
  if (grads.loraB) {
    recordProduct(record, {
      a: dy,
      b: h!,
      c: grads.loraB,
      transA: true,
      transB: false,
      lda: width,
      ldb: wide,
      rowStride: r,
      colStride: 1,
      parts: of(({ out, column, low }, { bAt }) => {
        return { m: out, n: r, k: rows, aAt: start + column, bAt: low, cAt: bAt };
      }),
      shared: true,
      accumulate: true,
    });
  }
  return dh;
}

/** dA of one layer's pairs, from `dh` of `outputGradients`. */
function downGradient(record: Recorder, { layer, grads, dropoutSeed }: LayerBack, x: Tensor, dh: Tensor): void {
  const { inner } = layer;
  const lora = layer.lora!;
  const { r } = lora;
  const [rows, wide] = dh.shape;
  const drops = drop(lora, dropoutSeed, inner);
  const parts = placed(layer)
    .filter(({ place }) => place)
    .map(({ place, low }): Part => {
      return { m: r, n: inner, k: rows, aAt: low, cAt: place!.aAt, seed: drops?.seed(place!) };
    });
  recordProduct(record, {
    a: dh,
    b: x,
    c: grads.loraA!,
    transA: true,
    transB: false,
    lda: wide,
    ldb: inner,
    rowStride: inner,
    colStride: 1,
    parts: !drops && adjacent(lora, inner) ? [{ ...parts[0], m: wide }] : parts,
    shared: drops !== null,
    dropout: drops && { ...drops, on: "b" },
    accumulate: true,
  });
}

/** Adds the gradient of a layer's input to `into`, or writes it to a new tensor. With DoRA and dropout it has two parts. */
function inputGradients(
  record: Recorder,
  back: LayerBack,
  gained: LayerBack,
  dh: Tensor | null,
  into: Tensor | null,
): Tensor {
  const { layer, dropoutSeed, dy: tensor, start: first } = back;
  const { lora, inner } = layer;
  if (!lora?.dora || !drop(lora, dropoutSeed, inner)) return inputGradient(record, gained, dh, into);
  const dx = inputGradient(record, { ...back, layer: { ...layer, lora: null } }, null, into);
  droppedInputGradient(record, { tensor, first }, dh!, layer, dropoutSeed!, dx);
  return dx;
}

/** Adds the gradient of a layer's input to `into`, or writes it to a new tensor. */
function inputGradient(
  record: Recorder,
  { layer, dropoutSeed, dy, start }: LayerBack,
  dh: Tensor | null,
  into: Tensor | null,
): Tensor {
  const { inner, weight, lora } = layer;
  const [rows, width] = dy.shape;
  const dx = into ?? record.empty([rows, inner], "f32", `d.${weight.label}.in`);
  const drops = lora && drop(lora, dropoutSeed, inner);
  const places = lora ? lora.parts.filter((place) => place !== null) : [];
  // Low-rank products that form one matrix join the first product; masked products need a dispatch each.
  const once = lora !== null && !drops && adjacent(lora, inner);
  const lows = places.map((place, l) => {
    return { r: lora!.r, a2At: l * lora!.r, b2At: place.aAt, seed: drops?.seed(place) };
  });
  if (once) lows.splice(0, lows.length, { ...lows[0], r: places.length * lora.r });
  const all = runs(layer).map(({ first, out, weightAt }): Part => {
    return { m: rows, n: inner, k: out, aAt: start + first, bAt: weightAt };
  });
  for (let i = 0; i < Math.max(all.length, lows.length); i++) {
    const main = all[i] ?? { m: rows, n: inner, k: 0 };
    const low = lows[i];
    recordProduct(record, {
      a: dy,
      b: weight,
      c: dx,
      transA: false,
      transB: false,
      lda: width,
      ldb: inner,
      rowStride: inner,
      colStride: 1,
      parts: [{ ...main, ...low }],
      low: low ? { a2: dh!, b2: lora!.a, lda2: dh!.shape[1] } : null,
      dropout: low && drops ? { ...drops, on: "extra" } : null,
      accumulate: into !== null || i > 0,
    });
  }
  return dx;
}
