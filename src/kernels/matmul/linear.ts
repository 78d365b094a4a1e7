import { sizeOf, type Tensor } from "../../gpu/tensor.ts";

/** The trainable low-rank pair of one linear layer, as PEFT names it: lora_A `[r, in]`, lora_B `[out, r]`. */
export interface LoraPlace {
  /** first element of lora_A in `Lora.a`, of lora_B in `Lora.b` */
  aAt: number;
  bAt: number;
  /** separates the dropout masks of different layers */
  index: number;
}

/** Low-rank pairs of linear layers that share their input. */
export interface Lora {
  /** holds every lora_A, f32 */
  a: Tensor;
  /** holds every lora_B, f32 */
  b: Tensor;
  r: number;
  /** α/r, or α/√r with rsLoRA */
  scale: number;
  /** probability that an input of lora_A is dropped while training; 0 = none */
  dropout: number;
  /** for each part of the layer; null if it has no adapter */
  parts: readonly (LoraPlace | null)[];
  /** DoRA's part of the adapter; absent or null: plain LoRA */
  dora?: Dora | null;
}

/** DoRA's magnitudes: `y = m / ‖W + s·B·A‖ · (x·Wᵀ + s·x·Aᵀ·Bᵀ) + b`, row by row of W. @see arXiv:2402.09353 */
export interface Dora {
  /** holds every lora_magnitude_vector `[out]`, f32 */
  magnitude: Tensor;
  /** for each part of the layer: first element of its magnitudes in `magnitude`; null if it has no adapter */
  at: readonly (number | null)[];
  /** f32 `[2, Σ out]`: for each column its gain m / norm (1 without an adapter), then its norm; see `doraGains` */
  gains: Tensor;
}

/** One of the linear layers that a `Linear` computes together. */
export interface LinearPart {
  /** output features */
  out: number;
  /** first element of its rows in `weight`, and of its entries in `bias` */
  weightAt: number;
  biasAt: number;
}

/** Up to three linear layers of one input, computed together: q, k and v; gate and up; or one alone. */
export interface Linear {
  /** input features */
  inner: number;
  /** holds every part's `[out, in]`; frozen weights f32, f16, bf16, int8 or nf4, trained weights f32 */
  weight: Tensor;
  /** holds every part's `[out]`, or null */
  bias: Tensor | null;
  parts: readonly LinearPart[];
  lora: Lora | null;
}

/** Gradients of a `Linear`: f32, accumulated, in the parameters' layout; null if frozen. */
export interface LinearGrads {
  weight: Tensor | null;
  bias: Tensor | null;
  loraA: Tensor | null;
  loraB: Tensor | null;
  magnitude?: Tensor | null;
}

/** Total columns of all parts. */
export function widthOf({ parts }: Pick<Linear, "parts">): number {
  return parts.reduce((sum, { out }) => sum + out, 0);
}

/** A part with its adapter matrices, its first column, and its first low-rank column. */
interface PlacedPart extends LinearPart {
  place: LoraPlace | null;
  column: number;
  low: number;
}

/** Cache by layer, because every product of a layer asks; a layer's adapter can be removed. */
const placedParts = new WeakMap<Linear, { lora: Lora | null; all: readonly PlacedPart[] }>();

/** Parts with their adapter matrices and their first columns. */
export function placed(layer: Linear): readonly PlacedPart[] {
  const { parts, lora } = layer;
  const known = placedParts.get(layer);
  if (known && known.lora === lora) return known.all;
  let column = 0;
  let low = 0;
  const all = parts.map((part, i) => {
    const place = lora?.parts[i] ?? null;
    const at = { ...part, place, column, low };
    column += part.out;
    if (place) low += lora!.r;
    return at;
  });
  placedParts.set(layer, { lora, all });
  return all;
}

/** Whether a part's rows directly follow another's. */
export function follows(a: LinearPart, b: LinearPart, inner: number): boolean {
  return b.weightAt === a.weightAt + a.out * inner;
}

/** Merges parts whose rows are adjacent into one matrix each. */
export function runs({ parts, inner }: Linear): { first: number; out: number; weightAt: number }[] {
  const all: { first: number; out: number; weightAt: number }[] = [];
  let first = 0;
  parts.forEach((part, i) => {
    if (i > 0 && follows(parts[i - 1], part, inner)) all[all.length - 1].out += part.out;
    else all.push({ first, out: part.out, weightAt: part.weightAt });
    first += part.out;
  });
  return all;
}

/** Whether all lora_A are adjacent: then they form one matrix of more rows. */
export function adjacent({ parts, r }: Lora, inner: number): boolean {
  const places = parts.filter((place) => place !== null);
  return places.every((place, i) => i === 0 || place.aAt === places[i - 1].aAt + r * inner);
}

/**
 * The dropout masks of a pass: a u32. With `row`, x's rows are a part of a longer x, from that row on, and have the masks that they
 * have there.
 */
export type DropoutSeed = number | { seed: number; row: number };

/** The dropout of this pass, if any; each pair's mask has its own seed. */
export function drop({ dropout }: Lora, of: DropoutSeed | null, cols: number) {
  if (of === null || dropout === 0) return null;
  const { seed, row } = typeof of === "number" ? { seed: of, row: 0 } : of;
  return { p: dropout, cols, row, seed: ({ index }: LoraPlace) => maskSeed(seed, index) };
}

/** The seed of a pair's dropout mask: a u32. @param index of `LoraPlace` */
export function maskSeed(seed: number, index: number): number {
  return (seed + Math.imul(index, 0x9e3779b9)) >>> 0;
}

/** A layer of one part with its own tensors. */
export function oneLinear(
  weight: Tensor,
  bias: Tensor | null,
  lora: { a: Tensor; b: Tensor; scale: number; dropout: number; index: number; dora?: Dora } | null,
): Linear {
  const [out, inner] = weight.shape;
  return {
    inner,
    weight,
    bias,
    parts: [{ out, weightAt: 0, biasAt: 0 }],
    lora: lora && {
      a: lora.a,
      b: lora.b,
      r: sizeOf(lora.a.shape) / inner,
      scale: lora.scale,
      dropout: lora.dropout,
      parts: [{ aAt: 0, bAt: 0, index: lora.index }],
      dora: lora.dora ?? null,
    },
  };
}
