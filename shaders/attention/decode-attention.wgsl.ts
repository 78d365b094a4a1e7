import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { NARROW, WIDEN } from "../lib/load.ts";
import { beginSplit, type DecodeAttentionVariant } from "./lib/decode.ts";

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

// decode_attention: one query row per sequence against its slot of the cache, in splits of keys; first adds the row's
// own key and value to the cache
//
// Grid     x: rows; y: key heads; z: splits of the keys; splits past a row's end write an empty partial
// Shapes   qkv [rows, (heads + 2 kvHeads) * headDim]   o [rows, heads * headDim]   keys, values [slots * capacity, kvHeads * headDim]   slots, positions [rows]
//          partials [rows, splits, heads, headDim + 2]: the unscaled sum, then its maximum and denominator
// Writes   partials by assignment; with `whole`, o; and each row's key and value at its position of its slot
// Source   flash-decoding: Dao, Haziza, Massa and Sizov 2023
export const decodeAttention = (variant: DecodeAttentionVariant) => {
  const { headDim, heads, kvHeads, split, cache, workgroup, whole } = variant;
  const queries = range(heads / kvHeads);
  const perKv = queries.length;
  // elements per load: on CPU adapters, the number of loads matters more than the number of elements
  const width = headDim % 4 === 0 ? 4 : 1;
  const type = width === 4 ? "vec4f" : "f32";
  const packed = cache === "bf16";
  const read = (array: string, at: string) => (packed ? `widen(${array}[${at}])` : `${array}[${at}]`);
  const part = (name: string, e: number) => (width === 4 ? `${name}[${e}]` : name);
  const each = (text: (g: number) => string, separator = "\n    ") => queries.map(text).join(separator);
  const add = (p: (g: number) => string, key: string) =>
    `let v = ${read("values", `at + ${key} * ${(kvHeads * headDim) / width}u`)}; ${each((g) => `o${g} = fma(${type}(${p(g)}), v, o${g});`, " ")}`;
  return wgsl`
struct Params { capacity: u32, splits: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> qkv: array<${type}>;
@group(0) @binding(1) var<storage, read_write> keys: array<${packed ? "vec2u" : type}>;
@group(0) @binding(2) var<storage, read_write> values: array<${packed ? "vec2u" : type}>;
@group(0) @binding(3) var<storage, read> slots: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
#if ${whole}
@group(0) @binding(5) var<storage, read_write> o: array<${type}>;
#else
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;
#endif
@group(0) @binding(6) var<uniform> params: Params;

${packed ? NARROW + WIDEN : ""}
var<workgroup> scores: array<vec4f, ${(perKv * split) / 4}>;
#if ${whole}
var<workgroup> totals: array<f32, ${perKv}>;
#endif

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${beginSplit(variant, width)}
#if ${!whole}
  let out = ((row * params.splits + group.z) * ${heads}u + kvHead * ${perKv}u) * ${headDim + 2}u;
#endif
  for (var key = thread; key < (count + 3u) / 4u * 4u; key += ${workgroup}u) {
    if (key >= count) {
      ${each((g) => `scores[${(g * split) / 4}u + key / 4u][key % 4u] = -3.0e38;`)}
      continue;
    }
    let at = ((base + key) * ${kvHeads}u + kvHead) * ${headDim / width}u;
    ${each((g) => `var s${g} = 0.0;`)}
    for (var d = 0u; d < ${headDim / width}u; d++) {
      let k = ${read("keys", "at + d")};
      ${each((g) => `let q${g} = qkv[(query + ${g}u) * ${headDim / width}u + d];`)}
      ${range(width)
        .map((e) => each((g) => `s${g} = fma(${part(`q${g}`, e)}, ${part("k", e)}, s${g});`))
        .join("\n    ")}
    }
    ${each((g) => `scores[${(g * split) / 4}u + key / 4u][key % 4u] = s${g} * params.scale;`)}
  }
  workgroupBarrier();
  for (var g = thread; g < ${perKv}u; g += ${workgroup}u) {
    let begin = g * ${split / 4}u;
    let end = begin + (count + 3u) / 4u;
    var m = -3.0e38;
    for (var j = begin; j < end; j++) {
      let z = scores[j];
      m = max(m, max(max(z.x, z.y), max(z.z, z.w)));
    }
    var l = 0.0;
    for (var j = begin; j < end; j++) {
      let z = scores[j];
      let p = select(exp(z - m), vec4f(0.0), z <= vec4f(-3.0e38)); // missing keys have weight 0
      scores[j] = p;
      l += p.x + p.y + p.z + p.w;
    }
#if ${whole}
    totals[g] = l;
#else
    partials[out + g * ${headDim + 2}u + ${headDim}u] = m;
    partials[out + g * ${headDim + 2}u + ${headDim + 1}u] = l;
#endif
  }
  workgroupBarrier();
  for (var d = thread; d < ${headDim / width}u; d += ${workgroup}u) {
    let at = (base * ${kvHeads}u + kvHead) * ${headDim / width}u + d;
    ${each((g) => `var o${g} = ${type}();`)}
    var j = 0u;
    for (; j + 4u <= count; j += 4u) {
      ${each((g) => `let p${g} = scores[${(g * split) / 4}u + j / 4u];`)}
      ${range(4)
        .map((e) => `{ ${add((g) => `p${g}[${e}]`, `(j + ${e}u)`)} }`)
        .join("\n      ")}
    }
    for (; j < count; j++) {
      ${add((g) => `scores[${(g * split) / 4}u + j / 4u][j % 4u]`, "j")}
    }
#if ${whole}
    ${each((g) => `o[(head + ${g}u) * ${headDim / width}u + d] = o${g} / ${type}(totals[${g}]);`)}
#else
    ${each((g) =>
      range(width)
        .map((e) => `partials[out + ${g * (headDim + 2) + e}u + ${width}u * d] = ${part(`o${g}`, e)};`)
        .join(" "),
    )}
#endif
  }
}
`;
};

/** Elements of o that a workgroup of decode_combine with groups takes. */
export const COMBINED = 32;

/** Compile-time parameters of a variant. */
interface DecodeCombineVariant {
  headDim: number;
  /** threads; with groups, `COMBINED` for each */
  workgroup: number;
  /** groups of threads that share out a head's splits; 1: every thread reads all of them */
  groups: number;
}

// decode_combine: o = the splits' sums, rescaled to one maximum and divided by the total denominator
//
// Grid     one thread per element of o; a number of workgroups, folded over y. With groups: x: heads, y: pieces of headDim, z: rows
// Shapes   partials [rows, splits, heads, headDim + 2]   o [rows, heads * headDim]
// Writes   o by assignment
// Numbers  a group takes every groups-th split, so that empty splits at the end change no bit
export const decodeCombine = ({ headDim, workgroup, groups }: DecodeCombineVariant) => wgsl`
struct Params { count: u32, splits: u32, heads: u32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> o: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
#if ${groups > 1}
var<workgroup> highest: array<f32, ${groups}>;
var<workgroup> sums: array<vec2f, ${workgroup}>;
#endif

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
#if ${groups > 1}
  let column = group.y * ${COMBINED}u + thread % ${COMBINED}u;
  let d = min(column, ${headDim - 1}u); // past the end, a thread repeats the last element and stores nothing
  let head = group.x;
  let row = group.z;
  let i = (row * params.heads + head) * ${headDim}u + d;
  let first = thread / ${COMBINED}u;
#else
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let d = i % ${headDim}u;
  let head = (i / ${headDim}u) % params.heads;
  let row = i / ${headDim}u / params.heads;
  let first = 0u;
#endif
  var m = -3.0e38;
  for (var s = first; s < params.splits; s += ${groups}u) {
    m = max(m, partials[((row * params.splits + s) * params.heads + head) * ${headDim + 2}u + ${headDim}u]);
  }
#if ${groups > 1}
  if (thread % ${COMBINED}u == 0u) { highest[first] = m; }
  workgroupBarrier();
  for (var g = 0u; g < ${groups}u; g++) { m = max(m, highest[g]); }
#endif
  var sum = 0.0;
  var l = 0.0;
  for (var s = first; s < params.splits; s += ${groups}u) {
    let at = ((row * params.splits + s) * params.heads + head) * ${headDim + 2}u;
    let high = partials[at + ${headDim}u];
    // exactly 1 for a row with one split: its result then equals that of a pass without splits
    let share = select(exp(high - m), 1.0, high == m);
    sum += share * partials[at + d];
    l += share * partials[at + ${headDim + 1}u];
  }
#if ${groups > 1}
  sums[thread] = vec2f(sum, l);
  workgroupBarrier();
  if (first > 0u || column >= ${headDim}u) { return; }
  for (var g = 1u; g < ${groups}u; g++) {
    sum += sums[g * ${COMBINED}u + thread].x;
    l += sums[g * ${COMBINED}u + thread].y;
  }
#endif
  o[i] = sum / l;
}
`;
