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

/** WGSL: the row's own key and value, into its place of the cache. @param width elements per load */
export function writeOwn({ headDim, heads, kvHeads, cache, workgroup }: DecodeAttentionVariant, width: number): string {
  const held = (value: string) => (cache === "bf16" ? `narrow4(${value})` : value);
  const steps = headDim / width;
  return `let own = (row * ${heads + 2 * kvHeads}u + ${heads}u + kvHead) * ${steps}u;
    let to = ((base + count - 1u) * ${kvHeads}u + kvHead) * ${steps}u;
    for (var d = thread; d < ${steps}u; d += ${workgroup}u) {
      keys[to + d] = ${held("qkv[own + d]")};
      values[to + d] = ${held(`qkv[own + ${kvHeads * steps}u + d]`)};
    }`;
}
