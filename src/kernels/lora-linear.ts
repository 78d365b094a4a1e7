import { ShapeError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { biasBackward } from "./elementwise.ts";
import { matmul } from "./matmul.ts";

/** The trainable low-rank pair of one linear layer, as PEFT names it. */
export interface LoraPair {
  /** lora_A `[r, in]` f32 */
  a: Tensor;
  /** lora_B `[out, r]` f32 */
  b: Tensor;
  /** α/r, or α/√r with rsLoRA */
  scale: number;
  /** probability that an input of lora_A is dropped while training; 0 = none */
  dropout: number;
  /** distinguishes the masks of different layers */
  index: number;
}

/** One linear layer: a frozen or trained weight, its bias, and what is added to it. */
export interface Linear {
  /** `[out, in]`, f32, f16 or bf16 */
  weight: Tensor;
  /** `[out]`, or null */
  bias: Tensor | null;
  lora: LoraPair | null;
}

/** Gradients of one linear layer, all f32, all added to; null where the parameter is frozen. */
export interface LinearGrads {
  weight: Tensor | null;
  bias: Tensor | null;
  loraA: Tensor | null;
  loraB: Tensor | null;
}

/** What the backward pass needs of the forward one. */
export interface LinearSaved {
  /** `scale · dropout(x) · lora_Aᵀ` `[rows, r]`; null without an adapter */
  h: Tensor | null;
}

/**
 * `y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ`: the low-rank product is r more steps of the same sum. Records one dispatch, two
 * with an adapter.
 *
 * @param x `[rows, in]` f32
 * @param dropoutSeed u32 of this forward pass, or null outside training: no dropout
 * @returns y `[rows, out]` f32 and what `loraLinearBackward` needs
 * @see Hu et al. 2021, arXiv:2106.09685; loraLinearReference
 */
export function loraLinear(
  record: Recorder,
  x: Tensor,
  linear: Linear,
  dropoutSeed: number | null,
  label?: string,
): { y: Tensor; saved: LinearSaved } {
  const { weight, bias, lora } = linear;
  const saved = loraHidden(record, x, linear, dropoutSeed);
  const extra = lora ? { a2: saved.h!, b2: lora.b } : null;
  return { y: matmul(record, x, weight, { transB: true, bias, extra, label }), saved };
}

/** The first half of the low-rank product alone, for a backward pass that recomputes it but has no use for y. */
export function loraHidden(
  record: Recorder,
  x: Tensor,
  { weight, lora }: Linear,
  dropoutSeed: number | null,
): LinearSaved {
  if (!lora) return { h: null };
  const [r, inner] = lora.a.shape;
  if (inner !== weight.shape[1] || lora.b.shape[0] !== weight.shape[0] || lora.b.shape[1] !== r) {
    throw new ShapeError(
      `Cannot add lora_A [${lora.a.shape}] and lora_B [${lora.b.shape}] to ${weight.label} [${weight.shape}]: they must be [r,${weight.shape[1]}] and [${weight.shape[0]},r]`,
    );
  }
  const dropout = mask(lora, dropoutSeed, x.shape[1], "a");
  return { h: matmul(record, x, lora.a, { transB: true, alpha: lora.scale, dropout, label: `${weight.label}.h` }) };
}

/**
 * Gradients of `loraLinear`: `dx = dy·W + mask∘(s·(dy·B)·A)`, `dB += dyᵀ·h`, `dA += (s·dy·B)ᵀ·dropout(x)`; and for a trained
 * layer `dW += dyᵀ·x`, `db += Σ_rows dy`.
 *
 * @param dy `[rows, out]` f32
 * @param needsInput false for layers whose input takes no gradient: returns null
 * @param into where to add dx; a new tensor when null
 */
export function loraLinearBackward(
  record: Recorder,
  x: Tensor,
  dy: Tensor,
  { weight, lora }: Linear,
  saved: LinearSaved,
  grads: LinearGrads,
  dropoutSeed: number | null,
  into: Tensor | null = null,
  needsInput = true,
): Tensor | null {
  return record.scope(() => {
    if (grads.weight) matmul(record, dy, x, { transA: true, into: grads.weight, accumulate: true });
    if (grads.bias) biasBackward(record, dy, grads.bias);
    let extra: { a2: Tensor; b2: Tensor } | null = null;
    if (lora) {
      const dh = matmul(record, dy, lora.b, { alpha: lora.scale, label: `d.${weight.label}.h` });
      if (grads.loraB) matmul(record, dy, saved.h!, { transA: true, into: grads.loraB, accumulate: true });
      if (grads.loraA) {
        matmul(record, dh, x, {
          transA: true,
          into: grads.loraA,
          accumulate: true,
          dropout: mask(lora, dropoutSeed, x.shape[1], "b"),
        });
      }
      extra = { a2: dh, b2: lora.a };
    }
    if (!needsInput) return null;
    const dropout = lora ? mask(lora, dropoutSeed, x.shape[1], "extra") : null;
    return matmul(record, dy, weight, {
      extra,
      dropout,
      into: into ?? undefined,
      accumulate: into !== null,
      label: `d.${x.label}`,
    });
  });
}

function mask(lora: LoraPair, seed: number | null, cols: number, on: "a" | "b" | "extra") {
  if (seed === null || lora.dropout === 0) return null;
  return { on, p: lora.dropout, seed: (seed + Math.imul(lora.index, 0x9e3779b9)) >>> 0, cols };
}
