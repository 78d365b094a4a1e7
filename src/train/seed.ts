import { FNV_START, fnvNext } from "../text/hash.ts";

/** Hashes numbers to a u32: the seed of a step's dropout masks and noise, the same in a resumed run. */
export function mixSeed(...parts: number[]): number {
  let h = FNV_START;
  for (const part of parts) {
    h = fnvNext(h, part | 0);
    h ^= h >>> 15;
    h = Math.imul(h, 0x2c1b3c6d);
    h ^= h >>> 12;
  }
  return h >>> 0;
}

/** Uniform numbers in [0, 1) with 32 bits, from a seed. Mulberry32: good enough to initialise an adapter. */
export function uniformFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
