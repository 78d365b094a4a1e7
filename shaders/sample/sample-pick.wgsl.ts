import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { randomFunctions } from "../lib/random.ts";
import { type Subgroups, subgroupBegins } from "../lib/reduce.ts";
import {
  fold,
  keyFunctions,
  logFunction,
  NOTHING,
  penaltyFunctions,
  subgroupArguments,
  subgroupHeader,
  subgroupInputs,
} from "../lib/sample.ts";

/** Compile-time parameters of a variant: a disabled processor costs nothing. */
interface SamplePickVariant {
  topK: boolean;
  topP: boolean;
  minP: boolean;
  /** `sample_search` and `sample_masses` did the row's search */
  searched: boolean;
  penalty: boolean;
  tile: number;
  subgroups: Subgroups;
  /** threads per row, a power of two; tile is a multiple of four times this */
  workgroup: number;
}

// sample_pick: top-k, top-p and min-p on a row's scores, and a draw from the remaining tokens
//
// All three keep the scores from some threshold t upwards (top-p drops the first few of several scores equal to t), so
// each is a search for its t: the largest t for which the scores z >= t number k, or have top_p of the mass. A round
// tries eight values between bounds, first linearly spaced, then bit patterns, and ends when one score is left between
// the bounds or the bounds are neighbours. Tiles whose max is below the bounds are skipped. The draw sums the kept
// scores in vocabulary order, first by parts of whole tiles, then within a part, and takes the first token whose sum
// exceeds u * total. Tiles without a kept score are skipped, and if all scores are kept, a tile's sum is in its stats: the
// draw then reads a single part. On a GPU, sample_search and sample_masses have found the threshold and the mass of each tile: the
// draw reads one part and, of equal scores at the threshold, one tile.
//
// Grid     one workgroup for each row; rows beyond 65 535 continue along y
// Shapes   scores [rows, tiles * tile]   stats [rows, tiles, 8]   kept [rows, 4]: t, first place of those equal to t, top
//          score, mass   seeds, positions, tokens, logp [all rows]   seen [all rows, words] bits
// Writes   tokens, logp and kept by assignment
// Tried    32 threads and more per row: slower on CPU adapters, where barriers cost time per thread
export const samplePick = (variant: SamplePickVariant) => {
  const { topK, topP, searched, penalty, tile, subgroups, workgroup } = variant;
  const { lanes } = subgroupArguments(variant.subgroups);
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
${logFunction}
${fold("highest", "max", ["vec2f"], subgroups, workgroup)}
${fold("total", "add", ["vec2f"], subgroups, workgroup)}
#if ${penalty}
${penaltyFunctions}
#endif

${drawFunctions(variant)}
${!searched && (topK || topP) ? searchFunctions(variant) : ""}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroupInputs(subgroups)}
) {
  ${subgroupBegins(subgroups)}
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

  ${searched ? SEARCHED_RULE : ruleLines(variant)}

  let uniform = uniform01(seeds[row], positions[row]);
  var drawn = vec2f(0.0);
  for (var step = select(1u, 0u, ties); step < 2u; step++) {
    drawn = locate(begin, tile, rule, step == 0u, select(uniform, wanted, step == 0u), thread);
    if (step == 0u) { rule.since = u32(drawn.x); }
  }
  if (thread != 0u) { return; }
  let place = u32(drawn.x);
  let id = stats[2u * (tile + place / ${tile}u)].z;
  let token = min(u32(id) + place % ${tile}u, params.vocab - 1u);
  var own = scores[begin + place / 4u][place & 3u];
#if ${penalty}
  if (wasSeen(row, token)) { own = unpenalised(own); }
#endif
  tokens[row] = token;
  logp[row] = own - tops.y - logarithm(all.y);
  kept[local] = vec4f(rule.t, f32(rule.since), top, drawn.y);
}
`;
};

/** `locate`, which sums a rule's kept scores in vocabulary order. */
function drawFunctions({ topK, topP, minP, searched, tile, workgroup }: SamplePickVariant): string {
  return wgsl`var<workgroup> sums: array<f32, ${workgroup}>;
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
  for (var i = 0u; i < ${workgroup}u * min(params.rows, 1u); i++) {
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
 * with \`ties\`, the place of the first of the last \`amount\` scores equal to t.
 */
fn locate(begin: u32, tile: u32, rule: Rule, ties: bool, amount: f32, thread: u32) -> vec2f {
  let count = params.tiles * ${tile / 4}u;
  let own = (params.tiles + ${workgroup - 1}u) / ${workgroup}u;
  let part = own * ${tile / 4}u;
  var sum = 0.0;
  for (var t = thread * own; t < min(params.tiles, (thread + 1u) * own); t++) {
    let stat = stats[2u * (tile + t)];
#if ${topK || topP || minP}
    if (stat.x < rule.t) { continue; }
#if ${searched}
    let masses = stats[2u * (tile + t) + 1u].zw; // above t, and the number equal to it
    let first = t * ${tile}u;
    if (ties || rule.since <= first || rule.since >= first + ${tile}u) {
      let equal = select(0.0, masses.y, rule.since <= first);
      sum += select(masses.x + equal * exp(rule.t - rule.top), masses.y, ties);
      continue;
    }
#endif
    for (var i = t * ${tile / 4}u; i < (t + 1u) * ${tile / 4}u; i++) {
      let z = scores[begin + i];
      if (ties) { sum += dot(equals(z, rule.t), vec4f(1.0)); } else { sum += dot(weights(z, 4u * i, rule), vec4f(1.0)); }
    }
#else
    sum += stat.y * exp(stat.x - rule.top);
#endif
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    var mass = 0.0;
    for (var i = 0u; i < ${workgroup}u * min(params.rows, 1u); i++) { mass += sums[i]; }
    let goal = select(amount * mass, max(0.0, mass - amount), ties);
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
}`;
}

/** `search`, which finds the t of top-k and top-p. */
function searchFunctions(variant: SamplePickVariant): string {
  const { topK, topP, tile, subgroups, workgroup } = variant;
  const { inputs, lanes } = subgroupArguments(variant.subgroups);
  return wgsl`${keyFunctions}

${fold("tally", "add", ["vec4f", "vec4f"], subgroups, workgroup)}

/** The bound that was looked for, the weight of the scores from it upwards and from the next bound upwards, the goal. */
struct Found { t: f32, weight: f32, above: f32, goal: f32 }

/**
 * The largest t for which the scores z >= t number (or, with \`byMass\`, weigh) \`goal\`, sought from \`low\` upwards first.
 * Ends when no number, or one score at most, lies between t and the next bound.
 */
fn search(begin: u32, tile: u32, byMass: bool, goal: f32, low: f32, top: f32, thread: u32${inputs}) -> Found {
  var lo = keyOf(low);
  var hi = keyOf(top) + 1u;
  var linear = 3u;
  var found = Found(low, 0.0, 0.0, goal);
  for (var round = 0u; round < 18u; round++) {
    let step = max(1u, (hi - lo) / 8u);
    var keys: array<u32, 9>;
    for (var i = 0u; i < 8u; i++) {
      let share = f32(i) * 0.125;
      let even = keyOf(numberOf(lo) * (1.0 - share) + numberOf(hi - 1u) * share);
      keys[i] = clamp(select(lo + i * step, even, round < linear && i > 0u), lo, hi - 1u);
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
        var w = vec4f(1.0);
        if (byMass) { w = exp(z - top); }
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
#if ${topK && topP}
    // top_p applies to the tokens that top-k kept: all from the lowest bound upwards
    if (byMass && round == 0u) { found.goal = max(1e-37, params.topP * weight[0]); }
#endif
    if (weight[0] < found.goal) {
      if (round > 0u || low <= ${NOTHING}) { break; }
      hi = lo;
      lo = keyOf(${NOTHING});
      linear = 0u;
      found.above = weight[0];
      continue;
    }
    var last = 0u;
    for (var i = 1u; i < 8u; i++) {
      if (weight[i] >= found.goal) { last = i; }
    }
    lo = keys[last];
    hi = keys[last + 1u];
    found = Found(numberOf(lo), weight[last], weight[last + 1u], found.goal);
    let one = select(1.0, exp(found.t - top), byMass);
    if (hi - lo <= 1u || found.weight - found.above < 1.5 * one) { break; }
  }
  return found;
}`;
}

/** The rule that `sample_masses` left in `kept`: the names that `ruleLines` declares. */
const SEARCHED_RULE = wgsl`if (thread == 0u) { picked = kept[local]; }
  let found = workgroupUniformLoad(&picked);
  var rule = Rule(found.x, 0u, top);
  let wanted = found.y;
  let ties = wanted > 0.0;`;

/** The rule of this row: the threshold of kept scores, and how many scores equal to t are `wanted`. */
function ruleLines(variant: SamplePickVariant): string {
  const { topK, topP, minP, workgroup } = variant;
  const { lanes } = subgroupArguments(variant.subgroups);
  return wgsl`var rule = Rule(${NOTHING}, 0u, top);
#if ${topK || topP}
  var low = ${NOTHING};
#endif
#if ${topK}
  // at least as many tiles as wanted tokens have a score from here upwards, or all tiles have
  for (var t = thread; t < params.tiles; t += ${workgroup}u) {
    let own = stats[2u * (tile + t)].x;
    var rank = 1u;
    for (var other = 0u; other < params.tiles; other++) {
      let theirs = stats[2u * (tile + other)].x;
      if (theirs > own || (theirs == own && other < t)) { rank++; }
    }
    if (rank == min(params.topK, params.tiles)) { low = own; }
  }
  low = highest(vec2f(low), thread${lanes}).x;
#elif ${topP}
  // all scores below this together have less mass than the tail
  low = min(top, top + log(max(1e-37, 0.5 * params.tail * all.x / f32(params.vocab))));
#endif
#if ${topK || topP}
  var ties = false;
  var wanted = 0.0;
  let once = min(params.rows, 1u); // Mesa's renderer unrolls a constant loop, and compiles the search twice
  for (var step = ${topK ? 0 : 1}u; step < ${topP ? 2 : 1}u * once; step++) {
    let byMass = step == 1u;
    let goal = select(f32(params.topK), max(1e-37, params.topP * all.x), byMass);
    let found = search(begin, tile, byMass, goal, low, top, thread${lanes});
    low = found.t;
    let one = exp(found.t - top);
    if (byMass && found.weight - found.above > 1.5 * one) {
      // several scores equal to t, not all of which are needed
      ties = true;
      wanted = max(1.0, ceil((found.goal - found.above) / one));
    }
  }
  rule.t = low;
#else
  let ties = false;
  let wanted = 0.0;
#endif
#if ${minP}
  if (top + params.logMinP > rule.t) {
    rule.t = min(top, top + params.logMinP);
    ${topP ? "ties = false;" : ""}
  }
#endif`;
}
