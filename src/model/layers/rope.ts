import type { ModelConfig } from "../config.ts";

/**
 * Rotary frequencies, `rotary_dim / 2` of them, rounded to float32 as transformers computes them.
 *
 * @see Su et al. 2021, arXiv:2104.09864; YaRN: Peng et al. 2023, arXiv:2309.00071
 */
export function inverseFrequencies({ rotary_dim, rope_theta, rope_scaling: yarn }: ModelConfig): Float32Array {
  const half = rotary_dim / 2;
  const plain = Float32Array.from({ length: half }, (_, i) => 1 / rope_theta ** ((2 * i) / rotary_dim));
  if (!yarn) return plain;
  // Dimensions that rotate often keep their frequency; those that rotate less than once are stretched; between, a ramp.
  const dimensionOf = (turns: number) =>
    (rotary_dim * Math.log(yarn.original_max_position_embeddings / (turns * 2 * Math.PI))) / (2 * Math.log(rope_theta));
  let low = dimensionOf(yarn.beta_fast);
  let high = dimensionOf(yarn.beta_slow);
  if (yarn.truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, rotary_dim - 1)];
  if (low === high) high += 0.001;
  return plain.map((frequency, i) => {
    const stretched = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (frequency / yarn.factor) * stretched + frequency * (1 - stretched);
  });
}

/** Cosines and sines `[positions, rotary_dim]`: row p holds rotary_dim/2 cosines, then as many sines, times YaRN's factor. */
export function rotaryTable(config: ModelConfig, positions: number): Float32Array {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const factor = config.rope_scaling?.attention_factor ?? 1;
  const table = new Float32Array(positions * 2 * half);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(p * frequencies[i]);
      table[p * 2 * half + i] = factor * Math.cos(angle);
      table[p * 2 * half + half + i] = factor * Math.sin(angle);
    }
  }
  return table;
}
