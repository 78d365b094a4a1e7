import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";
import { TOKEN_TERMS, type TokenTermName } from "./grpo-losses.ts";

/** Compile-time parameters of a variant. */
interface GrpoLossVariant {
  /** source of the importance ratio: none (ratio 1), logp − old_logp of the row, or a given log-ratio per row */
  ratio: "one" | "token" | "given";
  /** the token term */
  term: TokenTermName;
  /** whether there is a KL penalty against a reference model */
  kl: boolean;
  workgroup: number;
}

// grpo_loss: the weighted objective of each row and its gradient for the row's log-prob
//
//   rho = exp(log-ratio)
//   f, df = the token term of the loss (grpo-losses.ts)
//   kl:     x = ref - logp; k = exp(x) - x - 1                          dk = 1 - exp(x) = -(x + k)
//
// Grid     one thread for each of `count` rows, from row `start` of the micro-batch
// Shapes   logp, dlogp [count]   advantage, weight, other, ref_logp [n]   stats [n]: weighted loss, k, the term's low and high
// Writes   dlogp, and stats from `start`, by assignment
// Note     near x = 0 the three terms of k cancel to rounding errors: a series replaces them
// Source   Shao et al. 2024, arXiv:2402.03300; the token terms have their own sources
export const grpoLoss = ({ ratio, term, kl, workgroup }: GrpoLossVariant) => wgsl`
struct Params { start: u32, count: u32, ${Object.keys(TOKEN_TERMS[term].uniforms)
  .map((name) => `${name}: f32, `)
  .join("")}beta: f32 }

@group(0) @binding(0) var<storage, read> logp: array<f32>;
@group(0) @binding(1) var<storage, read> advantage: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec4f>;
#if ${ratio !== "one"}
@group(0) @binding(5) var<storage, read> other: array<f32>;
#endif
#if ${kl}
@group(0) @binding(6) var<storage, read> ref_logp: array<f32>;
#endif
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let row = params.start + i;
  let lp = logp[i];
  let a = advantage[row];
#if ${ratio === "one"}
  let log_rho = 0.0;
  let rho = 1.0;
#endif
#if ${ratio === "token"}
  let log_rho = lp - other[row];
  let rho = exp(log_rho);
#endif
#if ${ratio === "given"}
  let log_rho = other[row];
  let rho = exp(log_rho);
#endif
${TOKEN_TERMS[term].wgsl}

  var k = 0.0;
#if ${kl}
  let x = ref_logp[row] - lp;
  k = exp(x) - x - 1.0;
  if (abs(x) < 0.25) {
    k = x * x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0)))));
  }
  loss += params.beta * k;
  slope -= params.beta * (x + k);
#endif

  dlogp[i] = weight[row] * slope;
  stats[row] = vec4f(weight[row] * loss, k, low, high);
}
`;

/** Compile-time parameters of a variant. */
interface SequenceLogRatioVariant {
  subgroups: Subgroups;
  workgroup: number;
}

// sequence_log_ratio: log_ratio[row] = mean over the row's sequence of logp - old_logp
//
// Grid     one workgroup for each sequence
// Shapes   logp, old_logp, log_ratio [n]   starts [sequences + 1], first row of each, then the end
// Writes   log_ratio by assignment; a sequence without rows writes nothing
// Source   Zheng et al. 2025, arXiv:2507.18071 (GSPO)
export const sequenceLogRatio = ({ subgroups, workgroup }: SequenceLogRatioVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { sequences: u32 }

@group(0) @binding(0) var<storage, read> logp: array<f32>;
@group(0) @binding(1) var<storage, read> old_logp: array<f32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_ratio: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
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
  let start = starts[sequence];
  let end = starts[sequence + 1u];
  var sum = 0.0;
  for (var row = start + thread; row < end; row += ${workgroup}u) { sum += logp[row] - old_logp[row]; }
  let mean = rowSum(sum, thread${subgroups ? ", lane, lanes" : ""}) / f32(max(end, start + 1u) - start);
  for (var row = start + thread; row < end; row += ${workgroup}u) { log_ratio[row] = mean; }
}
`;
