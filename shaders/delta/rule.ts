// The gated delta rule in chunks of 64 tokens. A state S [keyDim, valueDim] a sequence and value head:
//   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
// With G the sums of g within a chunk, D_ij = e^(G_i - G_j) for i >= j only, which is at most 1 and cannot overflow:
//   A = strictly lower part of (beta K K^T) D, P = lower part of (Q K^T) D, T = (I + A)^-1
//   V' = T beta (V - e^G K S),  O = e^G Q S + P V',  S <- e^G_last S + (e^(G_last - G) K)^T V'
// Chunks are listed on the host: table [chunks + sequences, 4] holds for each chunk its first token, its tokens, the number of
// the state before it and of the one after it (NONE: the sequence begins or ends there); then for each sequence its first
// chunk and its chunks.
// Source   Yang, Kautz and Hatamizadeh 2025, arXiv:2412.06464; Yang et al. 2024, arXiv:2406.06484

/** Tokens of a chunk. */
export const CHUNK = 64;
/** Stands for no state. */
export const NONE = 0xffffffff;
/** Vec4s of what `delta_chunk` leaves of a chunk and head: T and P, 64 rows of 16 each, then (e^G, e^(G_last - G), beta, 0) a row. */
export const SOLVED = 2 * CHUNK * 16 + CHUNK;

/** Compile-time parameters of a variant. */
export interface DeltaVariant {
  /** elements of a query or key head, and of a value head: multiples of 4 */
  keyDim: number;
  valueDim: number;
  keyHeads: number;
  /** a multiple of keyHeads */
  valueHeads: number;
}

export const range = (n: number) => Array.from({ length: n }, (_, i) => i);
export const ROWS = range(4);
export const lines = (texts: readonly string[]) => texts.join("\n    ");

/** WGSL `to += x.x * rows0 + … + x.w * rows3`, a multiply-add each: a sum of products in one expression costs a product and a sum more. */
export const addRows = (to: string, x: string, rows: string) =>
  ["x", "y", "z", "w"].map((c, i) => `${to} += ${x}.${c} * ${rows}${i};`).join(" ");

/** WGSL of `to0` to `to3`, the columns of the matrix with rows `from0` to `from3`: products with them need no sum over a vector. */
export const columnsOf = (to: string, from: string) =>
  ["x", "y", "z", "w"]
    .map((c, i) => `let ${to}${i} = vec4f(${ROWS.map((r) => `${from}${r}.${c}`).join(", ")});`)
    .join(" ");

/** Counts in vec4s: a row of u, where its keys and values begin, heads. */
export function places({ keyDim, valueDim, keyHeads, valueHeads }: DeltaVariant) {
  const [dk, dv] = [keyDim / 4, valueDim / 4];
  return {
    dk,
    dv,
    width: 2 * keyHeads * dk + valueHeads * dv,
    keysAt: keyHeads * dk,
    valuesAt: 2 * keyHeads * dk,
    perKey: valueHeads / keyHeads,
  };
}

/** WGSL that sums g over the tokens of a chunk, in whole steps and the rest: differences stay exact however far both have fallen. */
export const chunkSums = (valueHeads: number) => `
var<workgroup> steps: array<vec2f, ${CHUNK}>;
var<workgroup> sums: array<vec2f, ${CHUNK}>;
var<workgroup> betas: array<f32, ${CHUNK}>;
fn loadGates(token: u32, count: u32, head: u32, thread: u32) {
  if (thread < ${CHUNK}u) {
    var gate = vec2f();
    if (thread < count) { gate = gates[(token + thread) * ${valueHeads}u + head]; }
    let g = max(gate.x, -1.0e4);
    let whole = round(g);
    steps[thread] = vec2f(whole, g - whole);
    betas[thread] = gate.y;
  }
  workgroupBarrier();
  if (thread < ${CHUNK}u) {
    var sum = vec2f();
    for (var i = 0u; i <= thread; i++) { sum += steps[i]; }
    sums[thread] = sum;
  }
  workgroupBarrier();
}
fn decay(i: u32, j: u32) -> f32 {
  let d = sums[i] - sums[j];
  return exp(min(d.x + d.y, 0.0));
}
fn decays(i: u32, quad: u32) -> vec4f {
  let own = sums[i];
  ${ROWS.map((c) => `let d${c} = own - sums[4u * quad + ${c}u];`).join(" ")}
  return exp(min(vec4f(${ROWS.map((c) => `d${c}.x + d${c}.y`).join(", ")}), vec4f()));
}`;
