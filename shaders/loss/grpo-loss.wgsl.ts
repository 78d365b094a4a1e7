import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { klTerm } from "../lib/kl.ts";
import { TOKEN_TERMS } from "./grpo-losses.ts";
import { type GrpoLossVariant, readsSequences } from "./grpo-variant.ts";

// grpo_loss: the weighted objective of each row and its gradient for the row's log-prob
//
//   rho = exp(log-ratio)
//   f, df = the token term of the loss (grpo-losses.ts), times the row's count m
//   kl:     x = ref - logp; k = exp(x) - x - 1                          dk = 1 - exp(x) = -(x + k)
//           corrected: rho k                                            d = rho (k + dk) = -rho x
//   spread: the ratio is the sequence's, so that its slope is the sequence's mean at each row: of m for f, of k for rho k
//
// Grid     one thread for each of `count` rows, from row `start` of the micro-batch
// Shapes   logp, dlogp [count]   rows, sequences, stats [n] of vec4   counted [n]
//          rows: advantage, weight, log-prob when generated, of the reference   sequences: as sequence_terms writes them
//          stats: weighted loss, k or rho k, the term's low and high
// Writes   dlogp, and stats from `start`, by assignment
// Source   Shao et al. 2024, arXiv:2402.03300; the corrected KL and the mask: DeepSeek-AI 2025, arXiv:2512.02556
export const grpoLoss = ({ workgroup, ...variant }: GrpoLossVariant) => {
  const { ratio, term, kl, spread, counted, offPolicy } = variant;
  const { uniforms, through, wgsl: body } = TOKEN_TERMS[term];
  const sequences = readsSequences(variant);
  return wgsl`
struct Params { start: u32, count: u32, ${Object.keys(uniforms)
    .map((name) => `${name}: f32, `)
    .join("")}beta: f32, threshold: f32 }

@group(0) @binding(0) var<storage, read> logp: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec4f>;
#if ${sequences}
@group(0) @binding(4) var<storage, read> sequences: array<vec4f>;
#endif
#if ${counted}
@group(0) @binding(5) var<storage, read> counted: array<f32>;
#endif
@group(0) @binding(6) var<uniform> params: Params;
${kl === "none" ? "" : klTerm}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let row = params.start + i;
  let given = rows[row];
  let lp = logp[i];
  let a = given.x;
#if ${sequences}
  let all = sequences[row]; // mean log-ratio, log of the sequence's ratio, mean count, mean k
  let log_w = all.y;
#else
  let log_w = 0.0;
#endif
#if ${ratio === "one"}
  let log_rho = 0.0;
  let rho = 1.0;
#endif
#if ${ratio === "token"}
  let log_rho = lp - given.z;
  let rho = exp(log_rho);
#endif
#if ${ratio === "sequence"}
  let log_rho = all.x;
  let rho = exp(log_rho);
#endif
${body}

#if ${counted}
  let m = ${spread && through === "ratio" ? "all.z" : "counted[row]"};
  loss *= m;
  slope *= m;
#endif
#if ${offPolicy}
  if (a < 0.0 && -all.x > params.threshold) {
    loss = 0.0;
    slope = 0.0;
  }
#endif

  var k = 0.0;
#if ${kl !== "none"}
  let x = given.w - lp;
  k = klTerm(x);
#endif
#if ${kl === "plain"}
  loss += params.beta * k;
  slope -= params.beta * (x + k);
#endif
#if ${kl === "corrected"}
  loss += params.beta * rho * k;
  slope += params.beta * rho * ${spread ? "(all.w - x - k)" : "-x"};
  k *= rho;
#endif

  dlogp[i] = given.y * slope;
  stats[row] = vec4f(given.y * loss, k, low, high);
}
`;
};
