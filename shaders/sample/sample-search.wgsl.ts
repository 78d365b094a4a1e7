import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type Subgroups, subgroupBegins } from "../lib/reduce.ts";
import { fold, keyFunctions, NOTHING, subgroupArguments, subgroupHeader, subgroupInputs } from "../lib/sample.ts";

/** Bounds that a round compares every score with. */
export const BOUNDS = 32;
/** Words of a row's state between two rounds. */
export const SEARCH_WORDS = 7;
/** Rounds that find any threshold: one of even steps in exponents, then five bits each of the 32. */
export const ROUNDS = 8;

/** Compile-time parameters of a variant. */
interface SampleSearchVariant {
  tile: number;
  subgroups: Subgroups;
  /** threads, at least as many as bounds; tile is a multiple of four times this */
  workgroup: number;
}

/** Compile-time parameters of a variant. */
interface SampleMassesVariant extends SampleSearchVariant {
  /** there was a search */
  searched: boolean;
  minP: boolean;
}

/**
 * What both kernels declare: a row's state, the bounds that follow from it, and `advanced`, which takes a round's sums
 * over all splits and narrows the state to the neighbouring bounds between which the goal lies.
 */
const searchFunctions = ({ subgroups, workgroup }: SampleSearchVariant) => {
  const { inputs, lanes } = subgroupArguments(subgroups);
  return wgsl`
${subgroupHeader(subgroups)}
struct Params {
  tiles: u32, splits: u32, each: u32, round: u32, begins: u32, byMass: u32, topK: f32, topP: f32, logMinP: f32
}

/** Bounds as keys, the weight of the scores from each upwards, and the weight that is looked for; stage 0: no round yet, 2: found. */
struct Search { low: u32, high: u32, stage: u32, byMass: u32, weight: f32, above: f32, goal: f32 }
${keyFunctions}
${fold("highest", "max", ["f32"], subgroups, workgroup)}

/** The i-th of ${BOUNDS} bounds: top - 2048 to top - 1/16 by half octaves in the first round, then evenly spaced keys. */
fn boundOf(search: Search, i: u32, top: f32) -> u32 {
  if (i == 0u) { return search.low; }
  if (search.stage == 0u) {
    let half = ${BOUNDS - 1}u - i;
    let power = bitcast<f32>((123u + half / 2u) << 23u); // 2^(half / 2 - 4)
    return clamp(keyOf(top - select(power, 1.5 * power, half % 2u == 1u)), search.low, search.high - 1u);
  }
  let step = (search.high - search.low + ${BOUNDS - 1}u) / ${BOUNDS}u;
  return min(search.low + i * step, search.high - 1u);
}

var<workgroup> weights: array<f32, ${BOUNDS}>;
var<workgroup> agreed: Search;

/** The state after the round that left \`partials\`, in uniform control flow. */
fn advanced(row: u32, before: Search, top: f32, thread: u32) -> Search {
  if (thread < ${BOUNDS}u) {
    var sum = 0.0;
    for (var s = 0u; s < params.splits; s++) { sum += partials[(row * params.splits + s) * ${BOUNDS}u + thread]; }
    weights[thread] = sum;
  }
  workgroupBarrier();
  if (thread == 0u) {
    var now = before;
    if (before.stage < 2u) {
      // top_p applies to the tokens that are left: all from the lowest bound upwards
      if (before.goal < 0.0) { now.goal = max(1e-37, params.topP * weights[0]); }
      var last = 0u;
      for (var i = 1u; i < ${BOUNDS}u; i++) {
        if (weights[i] >= now.goal) { last = i; }
      }
      now.low = boundOf(before, last, top);
      now.weight = weights[last];
      if (last + 1u < ${BOUNDS}u) {
        now.high = boundOf(before, last + 1u, top);
        now.above = weights[last + 1u];
      }
      let one = select(1.0, exp(numberOf(now.low) - top), now.byMass == 1u);
      now.stage = select(1u, 2u, now.high - now.low <= 1u || now.weight - now.above < 1.5 * one);
    }
    agreed = now;
  }
  return workgroupUniformLoad(&agreed);
}

/** The row's highest score. */
fn topOf(row: u32, thread: u32${inputs}) -> f32 {
  var high = ${NOTHING};
  for (var t = thread; t < params.tiles; t += ${workgroup}u) { high = max(high, stats[2u * (row * params.tiles + t)].x); }
  return highest(high, thread${lanes});
}
`;
};

// sample_search: a round of the search for the threshold of top-k or top-p, with many workgroups a row
//
// The threshold is the largest t for which the scores z >= t number k, or have top_p of the mass. Every workgroup takes the
// sums that the round before left for all parts of the row, narrows the bounds as the others do, and sums up its own tiles:
// the number or mass of scores from each of 32 new bounds upwards. A search that has ended passes its state on.
//
// Grid     splits of `each` tiles along x, rows along y
// Shapes   scores [rows, tiles * tile]   stats [rows, tiles, 8]   states [rows, 2] of `Search`: the state of even and odd rounds
//          partials [2, rows, splits, 32], of even and odd rounds
// Writes   its row's state of this round (the first workgroup) and its partials by assignment
export const sampleSearch = (variant: SampleSearchVariant) => {
  const { tile, subgroups, workgroup } = variant;
  const { lanes } = subgroupArguments(subgroups);
  const quads = Array.from({ length: BOUNDS / 4 }, (_, q) => q);
  return wgsl`
${searchFunctions(variant)}
@group(0) @binding(0) var<storage, read> scores: array<vec4f>;
@group(0) @binding(1) var<storage, read> stats: array<vec4f>;
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> states: array<Search>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> parts: array<vec4f, ${(workgroup * BOUNDS) / 4}>;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroupInputs(subgroups)}
) {
  ${subgroupBegins(subgroups)}
  let row = group.y;
  let top = topOf(row, thread${lanes});
  var search = Search(keyOf(${NOTHING}), keyOf(top) + 1u, 0u, params.byMass, 0.0, 0.0, 0.0);
  if (params.round > 0u) {
    let found = advanced(row, states[2u * row + ((params.round + 1u) & 1u)], top, thread);
    if (params.begins == 0u) { search = found; } else { search.low = found.low; }
  }
  if (params.begins == 1u) { search.goal = select(params.topK, -1.0, params.byMass == 1u); }
  if (group.x == 0u && thread == 0u) { states[2u * row + (params.round & 1u)] = search; }
  if (search.stage == 2u) { return; }

  ${quads
    .map((q) => {
      const four = [0, 1, 2, 3].map((c) => `numberOf(boundOf(search, ${4 * q + c}u, top))`).join(", ");
      return `let b${q} = vec4f(${four});\n  var s${q} = vec4f(0.0);`;
    })
    .join("\n  ")}
  let byMass = search.byMass == 1u;
  for (var t = group.x * params.each; t < min(params.tiles, (group.x + 1u) * params.each); t++) {
    let at = row * params.tiles + t;
    if (stats[2u * at].x < b0.x) { continue; }
    for (var n = thread; n < ${tile / 4}u; n += ${workgroup}u) {
      let z = scores[at * ${tile / 4}u + n];
      if (all(z < vec4f(b0.x))) { continue; }
      let w = select(vec4f(1.0), exp(z - top), byMass);
      for (var i = 0u; i < 4u; i++) {
        let own = vec4f(z[i]);
        let weighs = vec4f(w[i]);
        ${quads.map((q) => `s${q} += select(vec4f(0.0), weighs, own >= b${q});`).join("\n        ")}
      }
    }
  }
  ${quads.map((q) => `parts[${q * workgroup}u + thread] = s${q};`).join("\n  ")}
  workgroupBarrier();
  if (thread < ${BOUNDS}u) {
    var sum = 0.0;
    for (var i = 0u; i < ${workgroup}u; i++) { sum += parts[thread / 4u * ${workgroup}u + i][thread % 4u]; }
    sums[(row * params.splits + group.x) * ${BOUNDS}u + thread] = sum;
  }
}
`;
};

// sample_masses: the threshold that the search found, min-p's where it is higher, and for each tile the mass of the scores
// above it and the number of those equal to it, so that sample_pick reads one tile
//
// Grid     tiles along x, rows along y
// Shapes   scores [rows, tiles * tile]   stats [rows, tiles, 8]   states, partials as in sample_search   kept [rows, 4]
// Writes   numbers 6 and 7 of its tile's stats; kept (the first workgroup): threshold, number wanted of the scores equal to it
//          (0: all), by assignment
export const sampleMasses = (variant: SampleMassesVariant) => {
  const { searched, minP, tile, subgroups, workgroup } = variant;
  const { lanes } = subgroupArguments(subgroups);
  return wgsl`
${searchFunctions(variant)}
@group(0) @binding(0) var<storage, read> scores: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> stats: array<vec4f>;
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read> states: array<Search>;
@group(0) @binding(4) var<storage, read_write> kept: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;
${fold("total", "add", ["vec2f"], subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroupInputs(subgroups)}
) {
  ${subgroupBegins(subgroups)}
  let row = group.y;
  let at = row * params.tiles + group.x;
  let top = topOf(row, thread${lanes});
  var t = ${NOTHING};
  var wanted = 0.0;
#if ${searched}
  let found = advanced(row, states[2u * row + ((params.round + 1u) & 1u)], top, thread);
  t = numberOf(found.low);
  let one = exp(t - top);
  if (found.byMass == 1u && found.weight - found.above > 1.5 * one) {
    // several scores equal to t, not all of which are needed
    wanted = max(1.0, ceil((found.goal - found.above) / one));
  }
#endif
#if ${minP}
  if (top + params.logMinP > t) {
    t = min(top, top + params.logMinP);
    wanted = 0.0;
  }
#endif
  if (group.x == 0u && thread == 0u) { kept[row] = vec4f(t, wanted, top, 0.0); }
  var own = vec2f(0.0);
  if (stats[2u * at].x >= t) {
    for (var n = thread; n < ${tile / 4}u; n += ${workgroup}u) {
      let z = scores[at * ${tile / 4}u + n];
      own.x += dot(select(vec4f(0.0), exp(z - top), z > vec4f(t)), vec4f(1.0));
      own.y += dot(select(vec4f(0.0), vec4f(1.0), z == vec4f(t)), vec4f(1.0));
    }
  }
  let all = total(own, thread${lanes});
  if (thread == 0u) {
    stats[2u * at + 1u].z = all.x;
    stats[2u * at + 1u].w = all.y;
  }
}
`;
};
