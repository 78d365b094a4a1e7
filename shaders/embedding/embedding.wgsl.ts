import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType, WIDEN } from "../lib/load.ts";
import { randomFunctions } from "../lib/random.ts";
import { TEXELS, texelFunctions } from "../lib/texels.ts";

/** Compile-time parameters of a variant. */
interface EmbeddingVariant {
  /** how the table is stored; activations are f32 */
  weight: Stored;
  /** the table is in a texture: f32 or bf16, in rows of whole texels */
  texels: boolean;
  /** four columns per thread; the width is then a multiple of four */
  vector: boolean;
  /** uniform noise on the result: none, one size, or one size per token */
  noise: "none" | "all" | "token";
  /** rows by place: an id's row is places[id] */
  placed: boolean;
  workgroup: number;
}

// embedding: x[t] = weight[ids[t] - start] (+ noiseScale * uniform(-1, 1)), for the tokens whose row is in this shard
//
// Grid     threads along x for the columns, tokens along y and, beyond 65 535, z
// Shapes   ids [tokens]   places [vocab], where placed: the row of each id, or one past the last   weight [rows, width], rows start ... of the whole table   x [tokens, width]
// Writes   by assignment, only rows of x whose id is in the shard: one dispatch per shard fills x
// Source   noise: NEFTune, Jain et al. 2023, arXiv:2310.05914; counted by (first + token) * width + column
export const embedding = ({ weight, texels, vector, noise, placed, workgroup }: EmbeddingVariant) => {
  const type = vector ? "vec4f" : "f32";
  const uniform = (c: string) => `uniform01(params.seed, ${c})`;
  const draw = vector
    ? `vec4f(${uniform("drawn")}, ${uniform("drawn + 1u")}, ${uniform("drawn + 2u")}, ${uniform("drawn + 3u")})`
    : uniform("drawn");
  return wgsl`
#if ${weight === "f16"}
enable f16;
#endif
struct Params { tokens: u32, width: u32, start: u32, rows: u32, noiseScale: f32, seed: u32, first: u32 }

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var${texels ? ` weight: ${TEXELS}` : `<storage, read> weight: array<${storedType(weight, vector)}>`};
@group(0) @binding(2) var<storage, read_write> x: array<${type}>;
@group(0) @binding(3) var<uniform> params: Params;
#if ${noise === "token"}
@group(0) @binding(4) var<storage, read> scale: array<f32>;
#endif
#if ${placed}
@group(0) @binding(${noise === "token" ? 5 : 4}) var<storage, read> places: array<u32>;
#endif
${texels ? WIDEN + texelFunctions("weight", weight as "f32" | "bf16") : loadFunctions("weight", weight, vector)}
${noise === "none" ? "" : randomFunctions}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let token = group.z * grid.y + group.y;
  let c = (group.x * ${workgroup}u + thread) * ${vector ? 4 : 1}u;
  if (token >= params.tokens || c >= params.width) { return; }
  let id = ${placed ? "places[ids[token]]" : "ids[token]"};
  if (id < params.start || id - params.start >= params.rows) { return; }
  let at = token * params.width + c;
  var v = ${vector ? "weightAt4" : "weightAt1"}((id - params.start) * params.width + c);
#if ${noise !== "none"}
  let drawn = params.first * params.width + at;
#endif
#if ${noise === "all"}
  v += params.noiseScale * (2.0 * ${draw} - 1.0);
#elif ${noise === "token"}
  v += scale[token] * (2.0 * ${draw} - 1.0);
#endif
  x[at${vector ? " / 4u" : ""}] = v;
}
`;
};

/** Compile-time parameters of a variant. */
interface EmbeddingBackwardVariant {
  vector: boolean;
  workgroup: number;
}

// embedding_backward: dweight[id - start] += sum of dy over the positions of id
//
// Grid     threads along x for the columns, distinct ids along y and, beyond 65 535, z; each sums its id's positions in
//          order: deterministic, no atomics
// Shapes   dy [T, width]   tokens [distinct]   starts [distinct + 1]   order [T]   dweight [rows, width]
// Writes   dweight by +=, only rows that occur
export const embeddingBackward = ({ vector, workgroup }: EmbeddingBackwardVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { distinct: u32, width: u32, start: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${type}>;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read_write> dweight: array<${type}>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let which = group.z * grid.y + group.y;
  let c = group.x * ${workgroup}u + thread;
  if (which >= params.distinct || c >= params.width) { return; }
  let id = tokens[which];
  if (id < params.start || id - params.start >= params.rows) { return; }
  var sum = ${type}(0.0);
  let end = starts[which + 1u];
  for (var i = starts[which]; i < end; i++) { sum += dy[order[i] * params.width + c]; }
  dweight[(id - params.start) * params.width + c] += sum;
}
`;
};
