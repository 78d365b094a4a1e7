import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { randomFunctions } from "./lib/random.ts";
import { fold, NOTHING, penaltyFunctions, subgroupHeader, subgroupInputs } from "./lib/sample.ts";

/** What one compiled variant is specialised to: a processor that is off costs nothing. */
export interface SamplePickVariant {
  topK: boolean;
  topP: boolean;
  minP: boolean;
  penalty: boolean;
  tile: number;
  subgroups: boolean;
  /** threads a row, a power of two; tile is a multiple of four times as many */
  workgroup: number;
}

/**
 * WGSL `name`: the largest t in [low, top] for which the scores z >= t number (or, with `byMass`, weigh) `goal`.
 *
 * Ends when no number, or one score at most, lies between t and the next bound.
 */
function searchFunction(name: string, byMass: boolean, { tile, subgroups, workgroup }: SamplePickVariant): string {
  const [inputs, lanes] = subgroups ? [", lane: u32, lanes: u32", ", lane, lanes"] : ["", ""];
  return `
fn ${name}(begin: u32, tile: u32, goal: f32, low: f32, top: f32, thread: u32${inputs}) -> Found {
  var lo = keyOf(low);
  var hi = keyOf(top) + 1u;
  var found = Found(low, 0.0, 0.0);
  for (var round = 0u; round < 18u; round++) {
    let step = max(1u, (hi - lo) / 8u);
    var keys: array<u32, 9>;
    for (var i = 0u; i < 8u; i++) {
      let share = f32(i) * 0.125;
      let linear = keyOf(numberOf(lo) * (1.0 - share) + numberOf(hi - 1u) * share);
      keys[i] = clamp(select(lo + i * step, linear, round < 3u && i > 0u), lo, hi - 1u);
    }
    keys[8] = hi;
    let a = vec4f(numberOf(keys[0]), numberOf(keys[1]), numberOf(keys[2]), numberOf(keys[3]));
    let b = vec4f(numberOf(keys[4]), numberOf(keys[5]), numberOf(keys[6]), numberOf(keys[7]));
    var sums = Tally(vec4f(0.0), vec4f(0.0));
    for (var t = 0u; t < params.tiles; t++) {
      if (stats[2u * (tile + t)].x < a.x) { continue; }
      for (var n = thread; n < ${tile / 4}u; n += ${workgroup}u) {
        let z = scores[begin + t * ${tile / 4}u + n];
        if (all(z < vec4f(a.x))) { continue; }
        let w = ${byMass ? "exp(z - top)" : "vec4f(1.0)"};
        for (var i = 0u; i < 4u; i++) {
          sums.a += select(vec4f(0.0), vec4f(w[i]), vec4f(z[i]) >= a);
          sums.b += select(vec4f(0.0), vec4f(w[i]), vec4f(z[i]) >= b);
        }
      }
    }
    sums = tally(sums, thread${lanes});
    var weight: array<f32, 9>;
    for (var i = 0u; i < 4u; i++) {
      weight[i] = sums.a[i];
      weight[i + 4u] = sums.b[i];
    }
    weight[8] = found.above;
    var last = 0u;
    for (var i = 1u; i < 8u; i++) {
      if (weight[i] >= goal) { last = i; }
    }
    lo = keys[last];
    hi = keys[last + 1u];
    found = Found(numberOf(lo), weight[last], weight[last + 1u]);
    // where top_p is all but 1, rounding may leave the lowest bound short of the goal
    if (hi - lo <= 1u || found.weight < goal) { break; }
    if (found.weight - found.above < ${byMass ? "1.5 * exp(found.t - top)" : "1.5"}) { break; }
  }
  return found;
}`;
}

// sample_pick: top-k, top-p and min-p on a row's scores, and a draw from what they leave
//
// All three keep the scores from some t upwards (top-p drops the first few of several scores equal to t), so each is a
// search for its t: the largest whose scores z >= t number k, or weigh top_p of the mass. A round tries eight values
// between bounds, linear ones first and then bit patterns, and ends when one score is left between the bounds or the
// bounds are neighbours. Tiles whose max lies below the bounds are passed over. The draw sums what is kept in order of
// the vocabulary, by contiguous part of the row, then of the part, and takes the first token whose sum passes u * total.
//
// Grid     one workgroup for each row; rows past 65 535 continue along y
// Shapes   scores [rows, tiles * tile]   stats [rows, tiles, 8]   kept [rows, 4]: t, first place of those equal to t, top
//          score, mass   seeds, positions, tokens, logp [all rows]   seen [all rows, words] bits
// Writes   tokens, logp and kept by assignment
// Tried    128 and 256 threads a row: slower on CPU adapters, whose barriers cost by the thread
export const samplePick = (variant: SamplePickVariant) => {
  const { topK, topP, minP, penalty, tile, subgroups, workgroup } = variant;
  const lanes = subgroups ? ", lane, lanes" : "";
  return wgsl`
${subgroupHeader(subgroups)}
struct Params {
  first: u32, rows: u32, tiles: u32, vocab: u32, words: u32, topK: u32,
  topP: f32, tail: f32, logMinP: f32, penalty: f32
}

@group(0) @binding(0) var<storage, read> scores: array<vec4f>;
@group(0) @binding(1) var<storage, read> stats: array<vec4f>;
@group(0) @binding(2) var<storage, read> seeds: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(5) var<storage, read_write> logp: array<f32>;
@group(0) @binding(6) var<storage, read_write> kept: array<vec4f>;
#if ${penalty}
@group(0) @binding(7) var<storage, read> seen: array<u32>;
#endif
@group(0) @binding(8) var<uniform> params: Params;
${randomFunctions}
${fold("highest", "max", ["vec2f"], subgroups, workgroup)}
${fold("total", "add", ["vec2f"], subgroups, workgroup)}
#if ${penalty}
${penaltyFunctions}
#endif

var<workgroup> sums: array<f32, ${workgroup}>;
var<workgroup> picked: vec4f;

/** The scores that are kept: those above t, and those equal to t from place \`since\` on. */
struct Rule { t: f32, since: u32, top: f32 }

fn weights(z: vec4f, place: u32, rule: Rule) -> vec4f {
  let late = vec4u(place, place + 1u, place + 2u, place + 3u) >= vec4u(rule.since);
  return select(vec4f(0.0), exp(z - rule.top), (z > vec4f(rule.t)) | ((z == vec4f(rule.t)) & late));
}
fn equals(z: vec4f, t: f32) -> vec4f { return select(vec4f(0.0), vec4f(1.0), z == vec4f(t)); }

/** The first of the parts in \`sums\` where the sum from the left passes \`goal\`, else the last that weighs anything; and the sum before it. */
fn passing(goal: f32) -> vec2f {
  var before = 0.0;
  var last = vec2f(0.0);
  for (var i = 0u; i < ${workgroup}u; i++) {
    if (sums[i] > 0.0) {
      last = vec2f(f32(i), before);
      if (before + sums[i] > goal) { break; }
    }
    before += sums[i];
  }
  return last;
}

/**
 * The first place where the weight of kept scores from the left passes \`amount\` of their total, and that total;
 * with \`ties\`, where the number of scores equal to t passes \`amount\`.
 */
fn locate(begin: u32, rule: Rule, ties: bool, amount: f32, thread: u32) -> vec2f {
  let count = params.tiles * ${tile / 4}u;
  let part = (count + ${workgroup - 1}u) / ${workgroup}u;
  var sum = 0.0;
  for (var i = thread * part; i < min(count, (thread + 1u) * part); i++) {
    let z = scores[begin + i];
    if (ties) { sum += dot(equals(z, rule.t), vec4f(1.0)); } else { sum += dot(weights(z, 4u * i, rule), vec4f(1.0)); }
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    var mass = 0.0;
    for (var i = 0u; i < ${workgroup}u; i++) { mass += sums[i]; }
    let goal = select(amount * mass, amount, ties);
    let found = passing(goal);
    picked = vec4f(found.x, goal - found.y, mass, 0.0);
  }
  let outer = workgroupUniformLoad(&picked);
  let base = u32(outer.x) * part;
  let piece = (part + ${workgroup - 1}u) / ${workgroup}u;
  sum = 0.0;
  for (var i = base + thread * piece; i < min(count, base + min(part, (thread + 1u) * piece)); i++) {
    let z = scores[begin + i];
    if (ties) { sum += dot(equals(z, rule.t), vec4f(1.0)); } else { sum += dot(weights(z, 4u * i, rule), vec4f(1.0)); }
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    let found = passing(outer.y);
    var before = found.y;
    var place = 4u * (base + u32(found.x) * piece);
    let end = min(4u * count, min(place + 4u * piece, 4u * (base + part)));
    for (var i = place; i < end; i++) {
      let z = scores[begin + i / 4u];
      let w = weights(z, i & ~3u, rule)[i & 3u];
      let each = select(w, equals(z, rule.t)[i & 3u], ties);
      if (each > 0.0) {
        place = i;
        before += each;
        if (before > outer.y) { break; }
      }
    }
    picked = vec4f(f32(place), outer.z, 0.0, 0.0);
  }
  return workgroupUniformLoad(&picked).xy;
}
#if ${topK || topP}

/** Bit patterns in the order of the numbers. */
fn keyOf(z: f32) -> u32 {
  let bits = bitcast<u32>(z);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
fn numberOf(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u)); }

${fold("tally", "add", ["vec4f", "vec4f"], subgroups, workgroup)}

/** The bound that was looked for, the weight of the scores from it upwards, and of those from the next bound upwards. */
struct Found { t: f32, weight: f32, above: f32 }
#if ${topK}
${searchFunction("searchNumber", false, variant)}
#endif
#if ${topP}
${searchFunction("searchMass", true, variant)}
#endif
#endif

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroupInputs(subgroups)}
) {
  let local = group.y * grid.x + group.x;
  if (local >= params.rows) { return; }
  let row = params.first + local;
  let tile = local * params.tiles;
  let begin = tile * ${tile / 4}u;

  var high = vec2f(${NOTHING});
  for (var t = thread; t < params.tiles; t += ${workgroup}u) {
    high = max(high, vec2f(stats[2u * (tile + t)].x, stats[2u * (tile + t) + 1u].x));
  }
  let tops = highest(high, thread${lanes});
  let top = tops.x;
  var sum = vec2f(0.0);
  for (var t = thread; t < params.tiles; t += ${workgroup}u) {
    let own = stats[2u * (tile + t)];
    let plain = stats[2u * (tile + t) + 1u];
    sum += vec2f(own.y * exp(own.x - top), plain.y * exp(plain.x - tops.y));
  }
  let all = total(sum, thread${lanes});

  var rule = Rule(${NOTHING}, 0u, top);
#if ${topK || topP}
  var mass = all.x;
#endif
#if ${topK}
  var low = ${NOTHING};
  if (params.topK <= params.tiles && params.tiles <= 1024u) {
    // as many tiles as tokens are wanted have a score from here upwards
    for (var t = thread; t < params.tiles; t += ${workgroup}u) {
      let own = stats[2u * (tile + t)].x;
      var rank = 0u;
      for (var other = 0u; other < params.tiles; other++) {
        let theirs = stats[2u * (tile + other)].x;
        if (theirs > own || (theirs == own && other < t)) { rank++; }
      }
      if (rank == params.topK - 1u) { low = own; }
    }
    low = highest(vec2f(low), thread${lanes}).x;
  } else {
    // all tiles have a score from here upwards; if those are too few, the lowest score is the bound
    var shallow = -top;
    for (var t = thread; t < params.tiles; t += ${workgroup}u) { shallow = max(shallow, -stats[2u * (tile + t)].x); }
    shallow = -highest(vec2f(shallow), thread${lanes}).x;
    var deep = -top;
    var many = 0.0;
    for (var i = thread; i < params.tiles * ${tile / 4}u; i += ${workgroup}u) {
      let z = scores[begin + i];
      let some = select(vec4f(-top), -z, z > vec4f(${NOTHING}));
      deep = max(deep, max(max(some.x, some.y), max(some.z, some.w)));
      many += dot(select(vec4f(0.0), vec4f(1.0), z >= vec4f(shallow)), vec4f(1.0));
    }
    deep = -highest(vec2f(deep), thread${lanes}).x;
    many = total(vec2f(many), thread${lanes}).x;
    low = select(deep, shallow, many >= f32(params.topK));
  }
  rule.t = searchNumber(begin, tile, f32(params.topK), low, top, thread${lanes}).t;
#endif
#if ${topK && topP}
  sum = vec2f(0.0);
  for (var t = 0u; t < params.tiles; t++) {
    if (stats[2u * (tile + t)].x < rule.t) { continue; }
    for (var n = thread; n < ${tile / 4}u; n += ${workgroup}u) {
      sum.x += dot(weights(scores[begin + t * ${tile / 4}u + n], 0u, rule), vec4f(1.0));
    }
  }
  mass = total(sum, thread${lanes}).x;
#endif
#if ${topP}
  // scores below this weigh less than the tail all together
  let bound = max(rule.t, top + log(max(1e-37, 0.5 * params.tail * mass / f32(params.vocab))));
  let goal = max(1e-37, params.topP * mass);
  let found = searchMass(begin, tile, goal, min(bound, top), top, thread${lanes});
  rule.t = found.t;
  let one = exp(rule.t - top);
  if (found.weight >= goal && found.weight - found.above > 1.5 * one) {
    sum = vec2f(0.0);
    for (var i = thread; i < params.tiles * ${tile / 4}u; i += ${workgroup}u) {
      sum.x += dot(equals(scores[begin + i], rule.t), vec4f(1.0));
    }
    let equal = total(sum, thread${lanes}).x;
    let wanted = clamp(ceil((goal - found.above) / one), 1.0, max(1.0, equal));
    if (wanted < equal) { rule.since = u32(locate(begin, rule, true, equal - wanted, thread).x); }
  }
#endif
#if ${minP}
  if (top + params.logMinP > rule.t) {
    rule.t = min(top, top + params.logMinP);
    rule.since = 0u;
  }
#endif

  let drawn = locate(begin, rule, false, uniform01(seeds[row], positions[row]), thread);
  if (thread != 0u) { return; }
  let place = u32(drawn.x);
  let id = stats[2u * (tile + place / ${tile}u)].z;
  let token = min(u32(id) + place % ${tile}u, params.vocab - 1u);
  var own = scores[begin + place / 4u][place & 3u];
#if ${penalty}
  if (wasSeen(row, token)) { own = unpenalised(own); }
#endif
  tokens[row] = token;
  logp[row] = own - tops.y - log(all.y);
  kept[local] = vec4f(rule.t, f32(rule.since), top, drawn.y);
}
`;
};
