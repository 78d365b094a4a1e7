/** Parameters of a dispatch, with their place in the uniform buffer. */
export interface Params {
  readonly words: Uint32Array;
  /** byte offset in the arena of `era` */
  readonly offsets: [number];
  /** the arena's era of `offsets`; −1: not placed yet */
  era: number;
}

/** Parameters that have no place yet. */
export const paramsOf = (words: Uint32Array): Params => ({ words, offsets: [0], era: -1 });
