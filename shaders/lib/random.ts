/**
 * Counter-based random numbers: a value depends only on (seed, index), so that forward pass, backward pass and a
 * resumed run see the same values. PCG-RXS-M-XS output function over a mixed counter; Jarzynski and Olano 2020, JCGT
 * 9(3).
 */
export const randomFunctions = `
fn hash(v: u32) -> u32 {
  let state = v * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
fn uniform01(seed: u32, index: u32) -> f32 {
  return f32(hash(index ^ hash(seed)) >> 8u) * (1.0 / 16777216.0);
}`;

/** The same numbers on the CPU, for references and tests. */
export function uniform01(seed: number, index: number): number {
  const hash = (v: number) => {
    const state = (Math.imul(v, 747796405) + 2891336453) >>> 0;
    const word = Math.imul(((state >>> ((state >>> 28) + 4)) ^ state) >>> 0, 277803737) >>> 0;
    return ((word >>> 22) ^ word) >>> 0;
  };
  return (hash((index ^ hash(seed)) >>> 0) >>> 8) / 16777216;
}
