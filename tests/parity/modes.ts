import type { Gpu } from "../../src/gpu/device.ts";
import type { ParityRow } from "./parity-model.ts";

// Modes that round on purpose, and what they may differ by: f32 numbers keep their own tolerances.

/** f32, or what an option of a recipe rounds: `bf16: true`, `matmul_precision: high`. */
export type ParityMode = "f32" | "bf16" | "high";

/** Tolerances by quantity, the first that fits; a quantity that none fits keeps that of f32. */
const TOLERANCES: Record<ParityMode, readonly (readonly [RegExp, number])[]> = {
  f32: [],
  // The forward pass is that of f32: what is kept is rounded beside it. Measured at most: gradients 1.6e-2, grad_norm 2.1e-3,
  // adapters 2.9e-3. Logits in bf16 (vocabularies of a multiple of 4) are off by 4e-3: tests/model/activations.test.ts.
  bf16: [
    [/grads|gradients/, 4e-2],
    [/^grad_norm/, 1e-2],
    [/^adapter at the end/, 1e-2],
    [/^mean_token_accuracy/, 0.1], // a token of few, about as likely as another
  ],
  // Operands have 11 bits.
  high: [
    [/grads|gradients/, 1e-2],
    [/^grad_norm|^adapter at the end/, 1e-2],
    [/^mean_token_accuracy/, 0.1],
    [/logits|logp|entropy|features|metrics/, 2e-3],
    [/loss/, 1e-3],
  ],
};

/** Switches a device to a mode. */
export function switchTo(gpu: Gpu, mode: ParityMode): void {
  gpu.activations = mode === "bf16" ? "bf16" : "f32";
  gpu.precision = mode === "high" ? "high" : "highest";
}

/** A row with the tolerance of its mode; never a stricter one than that of f32. */
export function inMode(row: ParityRow, mode: ParityMode): ParityRow {
  const own = TOLERANCES[mode].find(([name]) => name.test(row.check))?.[1] ?? 0;
  return { ...row, tolerance: Math.max(row.tolerance, own) };
}
