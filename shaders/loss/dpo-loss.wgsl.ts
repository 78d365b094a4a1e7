import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";
import { DPO_LOSSES, type DpoLossType } from "./dpo-losses.ts";

/** Compile-time parameters of a variant. */
interface SequenceSumVariant {
  subgroups: Subgroups;
  workgroup: number;
}

// sequence_sum: sums[s] = sum over the rows of sequence s of values[row]
//
// Grid     one workgroup for each sequence
// Shapes   values [n]   starts [sequences + 1], first row of each, then the end   sums [sequences]
// Writes   sums by assignment; a sequence without rows sums to 0
export const sequenceSum = ({ subgroups, workgroup }: SequenceSumVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { sequences: u32 }

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${rowSum(subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  let sequence = group.y * grid.x + group.x;
  if (sequence >= params.sequences) { return; }
  var sum = 0.0;
  for (var row = starts[sequence] + thread; row < starts[sequence + 1u]; row += ${workgroup}u) { sum += values[row]; }
  let total = rowSum(sum, thread${subgroups ? ", lane, lanes" : ""});
  if (thread == 0u) { sums[sequence] = total; }
}
`;

/** f32 numbers of a pair's statistics: loss, log-prob of the chosen and of the rejected completion, of the reference's two. */
export const PAIR_STATS = 5;

/** Compile-time parameters of a variant. */
interface DpoLossVariant {
  loss: DpoLossType;
  workgroup: number;
}

// dpo_loss: the loss of each pair of completions, and its gradient for the log-prob of every token of both
//
//   c = sum of logp over the chosen completion - its reference log-prob, r = the same of the rejected one
//   loss, dc, dr = a record of dpo-losses.ts
//
// Grid     one workgroup for each completion, the chosen ones first; those write the statistics of their pairs
// Shapes   sums, ref_logp, tokens [2 pairs]   starts [2 pairs + 1], first row of each completion and the end   dlogp [n]
//          stats [pairs, 5]: loss, log-probs of the chosen and the rejected completion, the reference's two
// Writes   dlogp, times `weight`, and stats by assignment
// Source   Rafailov et al. 2023, arXiv:2305.18290; the losses have their own sources
export const dpoLoss = ({ loss, workgroup }: DpoLossVariant) => wgsl`
struct Params { pairs: u32, beta: f32, smoothing: f32, weight: f32 }

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> ref_logp: array<f32>;
@group(0) @binding(2) var<storage, read> tokens: array<f32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// exp of less than -80 is 0 in f32; log(1 + e) of a small e has no digits left of it
fn log_sigmoid(x: f32) -> f32 {
  let e = exp(max(-abs(x), -80.0));
  return min(x, 0.0) - select(log(1.0 + e), e * (1.0 - 0.5 * e), e < 1e-3);
}
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0))); }

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let completion = group.y * grid.x + group.x;
  if (completion >= 2u * params.pairs) { return; }
  let rejects = completion >= params.pairs;
  let pair = select(completion, completion - params.pairs, rejects);
  let other = pair + params.pairs;
  let beta = params.beta;
  let smoothing = params.smoothing;
  let c = sums[pair] - ref_logp[pair];
  let r = sums[other] - ref_logp[other];
  let nc = tokens[pair];
  let nr = tokens[other];
${DPO_LOSSES[loss].wgsl}

  let slope_of = params.weight * select(dc, dr, rejects);
  for (var row = starts[completion] + thread; row < starts[completion + 1u]; row += ${workgroup}u) {
    dlogp[row] = slope_of;
  }
  if (thread != 0u || rejects) { return; }
  let out = pair * ${PAIR_STATS}u;
  stats[out] = loss;
  stats[out + 1u] = sums[pair];
  stats[out + 2u] = sums[other];
  stats[out + 3u] = ref_logp[pair];
  stats[out + 4u] = ref_logp[other];
}
`;
