/** Initial value of FNV-1a. */
export const FNV_START = 0x811c9dc5;

/** One step of FNV-1a over 32 bits: the hash after one more number. Signed; `>>> 0` makes it a u32. */
export function fnvNext(hash: number, value: number): number {
  return Math.imul(hash ^ value, 0x01000193);
}

/** Continues FNV-1a from `hash` over numbers, such as token ids or bytes. Signed. */
export function fnvNumbers(values: ArrayLike<number>, hash = FNV_START): number {
  let h = hash;
  for (let i = 0; i < values.length; i++) h = fnvNext(h, values[i]);
  return h;
}

/** Continues FNV-1a from `hash` over the UTF-16 units of a text. Signed. */
export function fnvText(text: string, hash = FNV_START): number {
  let h = hash;
  for (let i = 0; i < text.length; i++) h = fnvNext(h, text.charCodeAt(i));
  return h;
}

/**
 * States of a linear congruential generator (Numerical Recipes), u32: cheap, reproducible pseudo-random numbers with poor low
 * bits.
 */
export function lcg(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}
