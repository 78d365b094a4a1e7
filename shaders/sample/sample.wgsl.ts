import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type Subgroups, subgroupBegins } from "../lib/reduce.ts";
import { fold, logFunction, NOTHING, penaltyFunctions, subgroupHeader, subgroupInputs } from "../lib/sample.ts";

/**
 * f32 statistics per tile of scores from `sample_scores`: max, Σ exp(z − max), id of the first token, number of tokens;
 * then max and Σ exp of the plain logits (temperature only), and the id of the first of the highest scores.
 */
export const TILE_STATE = 8;

/** Compile-time parameters of a variant. */
interface SampleScoresVariant {
  /** four logits at once; the shard's rows are then multiples of four */
  vector: boolean;
  /** apply the repetition penalty to seen tokens */
  penalty: boolean;
  /** only the most likely token is needed: scores are not stored */
  greedy: boolean;
  /** scores per tile, a multiple of 4 · workgroup */
  tile: number;
  subgroups: Subgroups;
  workgroup: number;
}

// sample_scores: score = penalised(logit * inverseTemperature), in tiles, and statistics of each tile; one shard per
// dispatch
//
// Grid     tiles of the shard along x, rows along y
// Shapes   logits [all rows, cols]   seen [all rows, words] bits   scores [rows, tiles * tile]   stats [rows, tiles, 8]
// Writes   its tiles of scores and stats by assignment; the rest of a shard's last tile gets -3.4e38
export const sampleScores = ({ vector, penalty, greedy, tile, subgroups, workgroup }: SampleScoresVariant) => {
  const more = subgroups ? ", lane, lanes" : "";
  const each = tile / 4 / workgroup;
  const kinds = [penalty ? "vec2f" : "f32"]; // scores, and plain logits if they differ
  return wgsl`
${subgroupHeader(subgroups)}
struct Params {
  first: u32, cols: u32, start: u32, firstTile: u32, tiles: u32, words: u32, penalty: f32, inverseTemperature: f32
}

@group(0) @binding(0) var<storage, read> logits: array<${vector ? "vec4f" : "f32"}>;
#if ${penalty}
@group(0) @binding(1) var<storage, read> seen: array<u32>;
#endif
#if ${!greedy}
@group(0) @binding(2) var<storage, read_write> scores: array<vec4f>;
#endif
@group(0) @binding(3) var<storage, read_write> stats: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;
${fold("highest", "max", kinds, subgroups, workgroup)}
${fold("total", "add", kinds, subgroups, workgroup)}
#if ${greedy}
${fold("earliest", "max", ["f32"], subgroups, workgroup)}
#endif
#if ${penalty}
${penaltyFunctions}
#endif

/** The highest score so far, and the sum of exp(score - top). */
struct Running { top: f32, sum: f32 }

fn merged(running: Running, z: vec4f) -> Running {
  let top = max(running.top, max(max(z.x, z.y), max(z.z, z.w)));
  // a padding score has no mass, even if there are no other scores
  let e = select(exp(z - top), vec4f(0.0), z <= vec4f(${NOTHING}));
  return Running(top, running.sum * exp(running.top - top) + e.x + e.y + e.z + e.w);
}

/** NaN and +inf. By their bits: shaders may be compiled as if no number were either. */
fn notNumbers(z: vec4f) -> vec4<bool> {
  let bits = bitcast<vec4u>(z);
  return ((bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u)) | (bits == vec4u(0x7f800000u));
}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroupInputs(subgroups)}
) {
  ${subgroupBegins(subgroups)}
  let row = params.first + group.y;
  let at = group.y * params.tiles + params.firstTile + group.x;
  var own = Running(${NOTHING}, 0.0);
  var bad = false;
#if ${penalty}
  var plain = Running(${NOTHING}, 0.0);
#endif
#if ${greedy}
  var place = 0x1000000u;
#endif
  for (var n = 0u; n < ${each}u * min(params.cols, 1u); n++) { // not unrolled, see sample_pick
    let c = group.x * ${tile}u + 4u * (n * ${workgroup}u + thread);
    var z = vec4f(${NOTHING});
    if (c < params.cols) {
#if ${vector}
      let raw = logits[(row * params.cols + c) / 4u];
      z = max(raw * params.inverseTemperature, z);
#else
      var raw = vec4f(${NOTHING});
      for (var i = 0u; i < min(4u, params.cols - c); i++) { raw[i] = logits[row * params.cols + c + i]; }
      let there = vec4u(c, c + 1u, c + 2u, c + 3u) < vec4u(params.cols);
      z = select(z, max(raw * params.inverseTemperature, z), there);
#endif
      bad = bad || any(notNumbers(raw));
#if ${penalty}
      plain = merged(plain, z);
      for (var i = 0u; i < min(4u, params.cols - c); i++) {
        if (wasSeen(row, params.start + c + i)) { z[i] = penalised(z[i]); }
      }
#endif
#if ${greedy}
      let top = max(max(z.x, z.y), max(z.z, z.w));
      if (top > own.top) {
        place = params.start + c + select(select(select(3u, 2u, z.z == top), 1u, z.y == top), 0u, z.x == top);
      }
#endif
      own = merged(own, z);
    }
#if ${!greedy}
    scores[at * ${tile / 4}u + n * ${workgroup}u + thread] = z;
#endif
  }
#if ${penalty}
  let tops = highest(vec2f(own.top, plain.top), thread${more});
  var sum = vec2f(own.sum, plain.sum) * exp(vec2f(own.top, plain.top) - tops);
#else
  let tops = highest(own.top, thread${more});
  var sum = own.sum * exp(own.top - tops);
#endif
#if ${greedy}
  // the lowest id of equals; ids to 2^24 are exact in f32
  let first = -earliest(select(-f32(0x1000000u), -f32(place), own.top == tops${penalty ? ".x" : ""}), thread${more});
#else
  let first = 0.0;
#endif
  // a NaN must show in the log-prob, although max() may have ignored it
  if (bad) { sum = ${penalty ? "vec2f" : ""}(-1e30); }
  sum = total(sum, thread${more});
  if (thread == 0u) {
    let offset = group.x * ${tile}u;
    let top = vec2f(tops);
    var mass = vec2f(sum);
    if (mass.y < 0.0) { mass = vec2f(1.0, bitcast<f32>(0x7fc00000u | group.x)); }
    stats[2u * at] = vec4f(top.x, mass.x, f32(params.start + offset), f32(min(${tile}u, params.cols - offset)));
    stats[2u * at + 1u] = vec4f(top.y, mass.y, first, 0.0);
  }
}
`;
};

/** Compile-time parameters of a variant. */
interface SampleGreedyVariant {
  penalty: boolean;
  workgroup: number;
}

// sample_greedy: the most likely token of each row, the first of equals, and its plain log-prob, from the tiles
//
// Grid     one thread for each row
// Shapes   stats [rows, tiles, 8]   tokens, logp [all rows]   seen [all rows, words] bits
// Writes   tokens and logp by assignment
export const sampleGreedy = ({ penalty, workgroup }: SampleGreedyVariant) => wgsl`
struct Params { first: u32, rows: u32, tiles: u32, vocab: u32, words: u32, penalty: f32, inverseTemperature: f32 }

@group(0) @binding(0) var<storage, read> stats: array<vec4f>;
#if ${penalty}
@group(0) @binding(1) var<storage, read> seen: array<u32>;
#endif
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> logp: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
${logFunction}
#if ${penalty}
${penaltyFunctions}
#endif

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let local = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (local >= params.rows) { return; }
  let row = params.first + local;
  let at = 2u * local * params.tiles;
  var best = stats[at].x;
  var token = stats[at + 1u].z;
  var top = stats[at + 1u].x;
  for (var t = 1u; t < params.tiles; t++) {
    let high = stats[at + 2u * t].x;
    if (high > best) {
      best = high;
      token = stats[at + 2u * t + 1u].z;
    }
    top = max(top, stats[at + 2u * t + 1u].x);
  }
  var sum = 0.0;
  for (var t = 0u; t < params.tiles; t++) { sum += stats[at + 2u * t + 1u].y * exp(stats[at + 2u * t + 1u].x - top); }
  let id = min(u32(token), params.vocab - 1u);
#if ${penalty}
  if (wasSeen(row, id)) { best = unpenalised(best); }
#endif
  tokens[row] = id;
  logp[row] = best * params.inverseTemperature - top - logarithm(sum);
}
`;

/** Compile-time parameters of a variant. */
interface SampleProbabilitiesVariant {
  tile: number;
  workgroup: number;
}

// sample_probabilities: the distribution after all processors, from which sample_pick drew; for tests and parity
//
// Grid     tiles along x, rows along y
// Shapes   scores [rows, tiles * tile]   stats [rows, tiles, 8]   kept [rows, 4]   probabilities [all rows, vocab]
// Writes   probabilities by assignment
export const sampleProbabilities = ({ tile, workgroup }: SampleProbabilitiesVariant) => wgsl`
struct Params { first: u32, tiles: u32, vocab: u32 }

@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<vec4f>;
@group(0) @binding(2) var<storage, read> kept: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> probabilities: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = group.y * params.tiles + group.x;
  let k = kept[group.y];
  let out = (params.first + group.y) * params.vocab + u32(stats[2u * at].z);
  for (var i = thread; i < u32(stats[2u * at].w); i += ${workgroup}u) {
    let z = scores[at * ${tile}u + i];
    let keep = z > k.x || (z == k.x && group.x * ${tile}u + i >= u32(k.y));
    probabilities[out + i] = select(0.0, exp(z - k.z) / k.w, keep);
  }
}
`;

/** Compile-time parameters of a variant. */
interface MarkSeenVariant {
  workgroup: number;
}

// mark_seen: sets the bit of each row's token
//
// Grid     one thread for each row, which alone writes the row's words
// Shapes   tokens [rows]   seen [rows, words] bits, lowest first
// Writes   seen in place; tokens past its last bit are ignored
export const markSeen = ({ workgroup }: MarkSeenVariant) => wgsl`
struct Params { rows: u32, words: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read_write> seen: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (row >= params.rows) { return; }
  let token = tokens[row];
  if (token / 32u >= params.words) { return; }
  seen[row * params.words + token / 32u] |= 1u << (token & 31u);
}
`;
