// Code shared by both forms of decoding attention.

/** Compile-time parameters of a variant. */
export interface DecodeAttentionVariant {
  headDim: number;
  heads: number;
  kvHeads: number;
  /** keys per split, a multiple of 4 */
  split: number;
  /** how keys and values are stored; bf16: headDim is a multiple of 4 */
  cache: "f32" | "bf16";
  /** threads per workgroup */
  workgroup: number;
  /** all keys are in one split: writes the result, not a partial */
  whole: boolean;
}

/**
 * WGSL: the split of a workgroup, where its row's query and result are, and the row's own key and value, written into their place of
 * the cache. `thread` is the thread's number.
 *
 * @param width elements per load
 */
export function beginSplit(variant: DecodeAttentionVariant, width: number): string {
  const { headDim, heads, kvHeads, split, cache, workgroup } = variant;
  const perKv = heads / kvHeads;
  const held = (value: string) => (cache === "bf16" ? `narrow4(${value})` : value);
  const steps = headDim / width;
  return `let row = group.x;
  let kvHead = group.y;
  let first = group.z * ${split}u;
  let length = min(positions[row] + 1u, params.capacity);
  let count = min(${split}u, length - min(length, first));
  let base = slots[row] * params.capacity + first;
  let query = row * ${heads + 2 * kvHeads}u + kvHead * ${perKv}u; // in heads, for rows of qkv and of o
  let head = row * ${heads}u + kvHead * ${perKv}u;
  if (count > 0u && first + count == length) { // the split with the row's own key
    let own = (row * ${heads + 2 * kvHeads}u + ${heads}u + kvHead) * ${steps}u;
    let to = ((base + count - 1u) * ${kvHeads}u + kvHead) * ${steps}u;
    for (var d = thread; d < ${steps}u; d += ${workgroup}u) {
      keys[to + d] = ${held("qkv[own + d]")};
      values[to + d] = ${held(`qkv[own + ${kvHeads * steps}u + d]`)};
    }
  }
  storageBarrier();`;
}
