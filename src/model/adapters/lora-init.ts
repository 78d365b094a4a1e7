import { UnsupportedError } from "../../errors.ts";
import type { ParameterSpec } from "../parameters.ts";
import type { AdapterInit } from "./adapter.ts";

/**
 * Initial values of LoRA's matrices, as in PEFT 0.21. A is `[r, in]`, B `[out, r]`.
 *
 * - `true`: A uniform in ±1/√in, B zero
 * - `gaussian`: A normal with a deviation of 1/r, B zero
 * - `orthogonal`: with an orthogonal Q `[r, r]`, A = (N·Q_odd)ᵀ/10 and B = N'·Q_even/10, so that B·A = 0
 * - `false`: A uniform in ±1/√in, B in ±1/√r
 *
 * @param random uniform in [0, 1)
 * @throws {UnsupportedError} orthogonal with an odd rank
 * @see peft/tuners/lora/layer.py, reset_lora_parameters, orthogonal_init; arXiv:2106.09685
 */
export function loraStarter(init: AdapterInit, random: () => number): (parameter: ParameterSpec) => Float32Array {
  const bases = new Map<string, Float64Array>();
  const baseOf = (name: string, r: number) => {
    const layer = name.replace(/\.lora_[AB]\..*$/, "");
    let basis = bases.get(layer);
    if (!basis) {
      basis = orthogonal(r, random);
      bases.set(layer, basis);
    }
    return basis;
  };
  return ({ name, shape }) => {
    const isA = name.includes(".lora_A.");
    const [r, features] = isA ? shape : [shape[1], shape[0]];
    const values = new Float32Array(r * features);
    const uniform = (fanIn: number) => values.map(() => (2 * random() - 1) / Math.sqrt(fanIn));
    if (init === "orthogonal") return spanned(values, { r, features, isA, basis: baseOf(name, r) }, random);
    if (isA) return init === "gaussian" ? values.map(() => normal(random) / r) : uniform(features);
    return init === "false" ? uniform(r) : values;
  };
}

/** Random combinations of half of a basis' rows: the odd rows for B, the even rows for A. */
function spanned(
  values: Float32Array,
  { r, features, isA, basis }: { r: number; features: number; isA: boolean; basis: Float64Array },
  random: () => number,
): Float32Array {
  for (let f = 0; f < features; f++) {
    for (let h = 0; h < r / 2; h++) {
      const weight = normal(random) / 10;
      const row = (2 * h + (isA ? 0 : 1)) * r;
      for (let k = 0; k < r; k++) values[isA ? k * features + f : f * r + k] += weight * basis[row + k];
    }
  }
  return values;
}

/** Rows of an orthogonal matrix `[r, r]`: normal vectors, orthogonalised one by one, twice because of rounding. */
function orthogonal(r: number, random: () => number): Float64Array {
  if (r % 2 !== 0)
    throw new UnsupportedError(`Cannot use init_lora_weights orthogonal with rank ${r}: the rank must be even`);
  const basis = Float64Array.from({ length: r * r }, () => normal(random));
  for (let i = 0; i < r; i++) {
    const row = basis.subarray(i * r, (i + 1) * r);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = basis.subarray(j * r, (j + 1) * r);
        const along = row.reduce((sum, v, k) => sum + v * other[k], 0);
        for (let k = 0; k < r; k++) row[k] -= along * other[k];
      }
    }
    const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
    for (let k = 0; k < r; k++) row[k] /= norm;
  }
  return basis;
}

/** A normal number. Box and Muller 1958. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
