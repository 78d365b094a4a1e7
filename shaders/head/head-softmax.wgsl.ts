import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, NARROW, storedType, WIDEN } from "../lib/load.ts";

/** f32 numbers of a row's running state: max, Σe, Σe·d, Σz, argmax, the target's z, argmax = target; d = z − max, e = exp d. */
export const HEAD_STATE = 8;

/** WGSL of the logits of a step, widened: one, or four. */
const loadStep = (logits: "f32" | "bf16", at: string) => (logits === "bf16" ? `widen(logits[${at}])` : `logits[${at}]`);

/** Compile-time parameters of a variant. */
interface HeadStatisticsVariant {
  /** how logits are stored; bf16 only with `vector` */
  logits: "f32" | "bf16";
  /** four logits at once; a row is then a multiple of four */
  vector: boolean;
  /** threads per row, a power of two */
  workgroup: number;
}

// head_statistics: merges one shard of the vocabulary into each row's running state; z = logit * inverseTemperature
//
// Grid     one workgroup for each row; rows beyond 65 535 continue along y
// Shapes   logits [rows, cols]   targets [rows]   state [rows, 8]
// Writes   state by assignment if `first`, else merged with the old values
// Source   online normaliser: Milakov and Gimelshein 2018, arXiv:1805.02867; sums are relative to the maximum, so that
//          entropy and log-probs do not cancel for logits of ten thousand
export const headStatistics = ({ logits, vector, workgroup }: HeadStatisticsVariant) => wgsl`
struct Params { rows: u32, cols: u32, steps: u32, start: u32, first: u32, inverseTemperature: f32 }

@group(0) @binding(0) var<storage, read> logits: array<${storedType(logits, vector)}>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> highest: array<f32, ${workgroup}>;
var<workgroup> place: array<u32, ${workgroup}>;
var<workgroup> sums: array<vec4f, ${workgroup}>;
${loadFunctions("logits", logits, vector)}
${logits === "bf16" ? WIDEN : ""}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  let begin = row * params.steps;

  var best = -3.4e38;
  var at = 0xffffffffu;
  for (var s = thread; s < params.steps; s += ${workgroup}u) {
    let z = ${loadStep(logits, "begin + s")} * params.inverseTemperature;
#if ${vector}
    let top = max(max(z.x, z.y), max(z.z, z.w));
    if (top > best) {
      best = top;
      at = 4u * s + select(select(select(3u, 2u, z.z == top), 1u, z.y == top), 0u, z.x == top);
    }
#else
    if (z > best) {
      best = z;
      at = s;
    }
#endif
  }
  let middle = ${workgroup / 2}u * min(params.rows, 1u); // no constant: Mesa's renderer unrolls loops, and each barrier compiles slowly
  highest[thread] = best;
  place[thread] = at;
  for (var half = middle; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      let other = highest[thread + half];
      // the first of equals, for any number of threads
      if (other > highest[thread] || (other == highest[thread] && place[thread + half] < place[thread])) {
        highest[thread] = other;
        place[thread] = place[thread + half];
      }
    }
  }
  workgroupBarrier();
  best = highest[0];

  var sum = vec3f(0.0);
  for (var s = thread; s < params.steps; s += ${workgroup}u) {
    let z = ${loadStep(logits, "begin + s")} * params.inverseTemperature;
    let d = z - best;
    let e = exp(d);
#if ${vector}
    sum += vec3f(dot(e, vec4f(1.0)), dot(e, d), dot(z, vec4f(1.0)));
#else
    sum += vec3f(e, e * d, z);
#endif
  }
  sums[thread] = vec4f(sum, 0.0);
  for (var half = middle; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { sums[thread] += sums[thread + half]; }
  }
  workgroupBarrier();
  if (thread != 0u) { return; }

  let total = sums[0];
  let out = row * ${HEAD_STATE}u;
  let wanted = targets[row];
  var exponentials = total.x;
  var weighted = total.y;
  var plain = total.z;
  var argmax = f32(params.start + place[0]);
  var own = 0.0;
  if (params.first == 0u) {
    let before = state[out];
    let merged = max(before, best);
    let scaleBefore = exp(before - merged);
    let scale = exp(best - merged);
    weighted = scale * (weighted + exponentials * (best - merged)) +
      scaleBefore * (state[out + 2u] + state[out + 1u] * (before - merged));
    exponentials = scale * exponentials + scaleBefore * state[out + 1u];
    plain += state[out + 3u];
    if (before >= best) { argmax = state[out + 4u]; }
    own = state[out + 5u];
    best = merged;
  }
  if (wanted >= params.start && wanted - params.start < params.cols) {
    let c = wanted - params.start;
    own = logitsAt1(row * params.cols + c) * params.inverseTemperature;
  }
  state[out] = best;
  state[out + 1u] = exponentials;
  state[out + 2u] = weighted;
  state[out + 3u] = plain;
  state[out + 4u] = argmax;
  state[out + 5u] = own;
  state[out + 6u] = select(0.0, 1.0, argmax == f32(wanted));
  state[out + 7u] = 0.0;
}
`;

/** Compile-time parameters of a variant. */
interface HeadFinishVariant {
  workgroup: number;
}

// head_finish: log-prob of the target, smoothed objective, entropy, log-sum-exp, hit and mean z of each row, from its state
//
// Grid     one thread for each row
// Shapes   state [rows, 8]   all others [rows]
// Writes   all outputs by assignment
export const headFinish = ({ workgroup }: HeadFinishVariant) => wgsl`
struct Params { rows: u32, smoothing: f32, inverseVocab: f32 }

@group(0) @binding(0) var<storage, read> state: array<f32>;
@group(0) @binding(1) var<storage, read_write> logp: array<f32>;
@group(0) @binding(2) var<storage, read_write> objective: array<f32>;
@group(0) @binding(3) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> correct: array<f32>;
@group(0) @binding(6) var<storage, read_write> mean: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (row >= params.rows) { return; }
  let at = row * ${HEAD_STATE}u;
  let top = state[at];
  let exponentials = state[at + 1u];
  let logarithm = log(exponentials);
  let own = state[at + 5u] - top - logarithm;
  let z = state[at + 3u] * params.inverseVocab;
  logp[row] = own;
  objective[row] = (1.0 - params.smoothing) * own + params.smoothing * (z - top - logarithm);
  entropy[row] = logarithm - state[at + 2u] / exponentials;
  lse[row] = top + logarithm;
  correct[row] = state[at + 6u];
  mean[row] = z;
}
`;

/** Compile-time parameters of a variant. */
interface HeadGradientVariant {
  /** how logits are stored; bf16 only with `vector` */
  logits: "f32" | "bf16";
  vector: boolean;
  /** whether the loss depends on the rows' entropies too */
  entropy: boolean;
  workgroup: number;
}

// head_gradient: logits <- inverseTemperature * (dobjective * (keep * [j = target] + spread - p) - dentropy * p * (z - lse + entropy))
//
//   with p = exp(z - lse)
//
// Grid     threads along x for a row's logits, rows along y and, beyond 65 535, z
// Shapes   logits [rows, cols]   targets, lse, dobjective, entropy, dentropy [rows]
// Writes   logits in place: they become their own gradients
export const headGradient = ({ logits, vector, entropy, workgroup }: HeadGradientVariant) => {
  const type = vector ? "vec4f" : "f32";
  const value = "params.inverseTemperature * slope";
  return wgsl`
struct Params { rows: u32, steps: u32, start: u32, inverseTemperature: f32, keep: f32, spread: f32 }

@group(0) @binding(0) var<storage, read_write> logits: array<${storedType(logits, vector)}>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> dobjective: array<f32>;
#if ${entropy}
@group(0) @binding(4) var<storage, read> entropy: array<f32>;
@group(0) @binding(5) var<storage, read> dentropy: array<f32>;
#endif
@group(0) @binding(6) var<uniform> params: Params;
${logits === "bf16" ? NARROW + WIDEN : ""}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let s = group.x * ${workgroup}u + thread;
  if (row >= params.rows || s >= params.steps) { return; }
  let at = row * params.steps + s;
  let lp = ${loadStep(logits, "at")} * params.inverseTemperature - lse[row];
  let p = exp(lp);
  let c = targets[row] - params.start; // wraps where the target lies in an earlier shard, past any column
#if ${vector}
  let own = vec4u(4u * s, 4u * s + 1u, 4u * s + 2u, 4u * s + 3u) == vec4u(c);
#else
  let own = s == c;
#endif
  var slope = dobjective[row] * (select(${type}(0.0), ${type}(params.keep), own) + params.spread - p);
#if ${entropy}
  slope -= dentropy[row] * p * (lp + entropy[row]);
#endif
  logits[at] = ${logits === "bf16" ? `narrow4(${value})` : value};
}
`;
};
