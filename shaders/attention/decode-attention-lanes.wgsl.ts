import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { NARROW, WIDEN } from "../lib/load.ts";
import { beginSplit, type DecodeAttentionVariant } from "./lib/decode.ts";

// Decoding attention on CPU adapters with subgroups, where a load costs as much as a hundred products: a workgroup is one
// subgroup, and its lanes load different keys, heads of the query and elements of the values, and pass them on. No workgroup
// memory and no barrier within the sums. Figures: bench/LOG.md.

/** Compile-time parameters of a variant. */
interface DecodeLanesVariant extends Omit<DecodeAttentionVariant, "workgroup"> {
  /** lanes of a subgroup = threads per workgroup */
  lanes: number;
}

/** Keys per lane and turn: an element of the query is passed on once for all of them. */
const KEYS = 2;

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const ELEMENTS = range(4);

// decode_attention_lanes: what decode_attention computes, with a running maximum (online softmax) over turns of 2 · lanes keys.
// headDim is a multiple of 4
//
// Grid     x: rows; y: key heads; z: splits of the keys; splits past a row's end write an empty partial
// Shapes   as decode_attention
// Writes   as decode_attention
// Source   online softmax: Milakov and Gimelshein 2018, arXiv:1805.02867
export const decodeAttentionLanes = (variant: DecodeLanesVariant) => {
  const { headDim, heads, kvHeads, cache, lanes, whole } = variant;
  const perKv = heads / kvHeads;
  const quads = headDim / 4;
  const queries = range(perKv);
  const keys = range(KEYS);
  const loads = range(Math.ceil(perKv / lanes)); // of the query, a head per lane
  const own = range(Math.ceil(quads / lanes)); // vec4s of the output per lane
  const lines = (texts: string[]) => texts.join("\n    ");
  const packed = cache === "bf16";
  const read = (array: string, at: string) => (packed ? `widen(${array}[${at}])` : `${array}[${at}]`);
  /** `name` reduced over all lanes by `how`, the same value in each */
  const across = (name: string, how: (x: string, y: string) => string) =>
    range(Math.log2(lanes)).map((bit) => `${name} = ${how(name, `subgroupShuffleXor(${name}, ${1 << bit}u)`)};`);
  return wgsl`
enable subgroups;
struct Params { capacity: u32, splits: u32, scale: f32, quads: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> keys: array<${packed ? "vec2u" : "vec4f"}>;
@group(0) @binding(2) var<storage, read_write> values: array<${packed ? "vec2u" : "vec4f"}>;
@group(0) @binding(3) var<storage, read> slots: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
#if ${whole}
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;
#else
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;
#endif
@group(0) @binding(6) var<uniform> params: Params;

${packed ? NARROW + WIDEN : ""}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) thread: u32) {
  ${beginSplit({ ...variant, workgroup: lanes }, 4)}
  let last = max(count, 1u) - 1u; // lanes without a key read this one and give it no weight
  ${lines(loads.map((h) => `let q${h}At = (query + min(${h * lanes}u + thread, ${perKv - 1}u)) * ${quads}u;`))}
  ${lines(own.map((i) => `let quad${i} = min(${i * lanes}u + thread, ${quads - 1}u);`))}
  ${lines(queries.map((g) => `var m${g} = -3.0e38; var l${g} = 0.0; ${own.map((i) => `var o${g}_${i} = vec4f();`).join(" ")}`))}
  for (var j = 0u; j < count; j += ${KEYS * lanes}u) {
    ${lines(keys.map((l) => `let live${l} = j + ${l * lanes}u + thread < count; let k${l}At = ((base + min(j + ${l * lanes}u + thread, last)) * ${kvHeads}u + kvHead) * ${quads}u;`))}
    ${lines(queries.map((g) => keys.map((l) => `var s${g}_${l} = 0.0;`).join(" ")))}
    for (var c = 0u; c < params.quads; c++) {
      ${lines(keys.map((l) => `let k${l} = ${read("keys", `k${l}At + c`)};`))}
      ${lines(loads.map((h) => `let q${h} = qkv[q${h}At + c];`))}
      ${lines(
        queries.flatMap((g) =>
          ELEMENTS.flatMap((e) => [
            `let x${g}_${e} = subgroupShuffle(q${Math.floor(g / lanes)}[${e}], ${g % lanes}u);`,
            ...keys.map((l) => `s${g}_${l} = fma(x${g}_${e}, k${l}[${e}], s${g}_${l});`),
          ]),
        ),
      )}
    }
    ${lines(
      queries.flatMap((g) => [
        ...keys.map((l) => `s${g}_${l} = select(-3.0e38, s${g}_${l} * params.scale, live${l});`),
        `var n${g} = ${keys.reduce((most, l) => `max(${most}, s${g}_${l})`, `m${g}`)};`,
        ...across(`n${g}`, (x, y) => `max(${x}, ${y})`),
        `let f${g} = exp(m${g} - n${g}); m${g} = n${g};`,
        ...keys.map((l) => `let p${g}_${l} = select(0.0, exp(s${g}_${l} - n${g}), live${l});`),
        `l${g} = ${keys.reduce((sum, l) => `${sum} + p${g}_${l}`, `l${g} * f${g}`)};`,
        ...own.map((i) => `o${g}_${i} *= f${g};`),
      ]),
    )}
    for (var t = 0u; t < min(${lanes}u, count - j); t++) {
      ${lines(
        keys.flatMap((l) => [
          `let v${l}At = ((base + min(j + ${l * lanes}u + t, last)) * ${kvHeads}u + kvHead) * ${quads}u;`,
          ...own.map((i) => `let v${l}_${i} = ${read("values", `v${l}At + quad${i}`)};`),
          ...queries.flatMap((g) => [
            `let w${g}_${l} = vec4f(subgroupShuffle(p${g}_${l}, t));`,
            ...own.map((i) => `o${g}_${i} = fma(w${g}_${l}, v${l}_${i}, o${g}_${i});`),
          ]),
        ]),
      )}
    }
  }
  ${lines(queries.flatMap((g) => across(`l${g}`, (x, y) => `${x} + ${y}`)))}
#if ${whole}
  ${lines(own.map((i) => `if (${i * lanes}u + thread < ${quads}u) { ${queries.map((g) => `o[(head + ${g}u) * ${quads}u + quad${i}] = o${g}_${i} / l${g};`).join(" ")} }`))}
#else
  let out = ((row * params.splits + group.z) * ${heads}u + kvHead * ${perKv}u) * ${headDim + 2}u;
  if (thread == 0u) { ${queries.map((g) => `partials[out + ${g * (headDim + 2) + headDim}u] = m${g}; partials[out + ${g * (headDim + 2) + headDim + 1}u] = l${g};`).join(" ")} }
  ${lines(own.map((i) => `if (${i * lanes}u + thread < ${quads}u) { ${queries.map((g) => ELEMENTS.map((e) => `partials[out + ${g * (headDim + 2) + e}u + 4u * quad${i}] = o${g}_${i}[${e}];`).join(" ")).join(" ")} }`))}
#endif
}
`;
};
