import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { klTerm } from "../lib/kl.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";
import { LOG_RATIO_MOST, LOG_W_LEAST } from "./grpo-losses.ts";

/** What one compiled variant is specialised to. */
interface SequenceTermsVariant {
  /** whether there are log-probs of an older policy: else every log-ratio is 0 */
  old: boolean;
  /** whether some rows count and some do not: else all do */
  counted: boolean;
  /** whether there are log-probs of a reference: else k is 0 */
  kl: boolean;
  subgroups: Subgroups;
  workgroup: number;
}

// sequence_terms: what a row's loss depends on of its whole sequence, at each of its rows
//
//   x  mean of d = logp - old     y  sum of d, each and all within bounds     z  mean count     w  mean of k(ref - logp)
//
// Grid     one workgroup for each sequence
// Shapes   logp, counted [n]   rows, terms [n] of vec4, rows as grpo_loss reads them   starts [sequences + 1]
// Writes   terms by assignment; a sequence without rows writes nothing
// Source   mean ratios: Zheng et al. 2025, arXiv:2507.18071 (GSPO); sums: arXiv:2602.10693 (VESPO)
export const sequenceTerms = ({ old, counted, kl, subgroups, workgroup }: SequenceTermsVariant) => {
  const lanes = subgroups ? ", lane, lanes" : "";
  return wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { sequences: u32 }

@group(0) @binding(0) var<storage, read> logp: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> terms: array<vec4f>;
#if ${counted}
@group(0) @binding(4) var<storage, read> counted: array<f32>;
#endif
@group(0) @binding(5) var<uniform> params: Params;
${rowSum(subgroups, workgroup)}
${kl ? klTerm : ""}

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
  var sum = vec4f(0.0);
  for (var row = start + thread; row < end; row += ${workgroup}u) {
#if ${old}
    let d = logp[row] - rows[row].z;
    sum += vec4f(d, clamp(d, -${LOG_RATIO_MOST}.0, ${LOG_RATIO_MOST}.0), 0.0, 0.0);
#endif
#if ${counted}
    sum.z += counted[row];
#endif
#if ${kl}
    sum.w += klTerm(rows[row].w - logp[row]);
#endif
  }
  let inverse = 1.0 / f32(max(end, start + 1u) - start);
  var all = vec4f(0.0, 0.0, 1.0, 0.0);
#if ${old}
  all.x = inverse * rowSum(sum.x, thread${lanes});
  all.y = clamp(rowSum(sum.y, thread${lanes}), ${LOG_W_LEAST}, ${LOG_RATIO_MOST}.0);
#endif
#if ${counted}
  all.z = inverse * rowSum(sum.z, thread${lanes});
#endif
#if ${kl}
  all.w = inverse * rowSum(sum.w, thread${lanes});
#endif
  for (var row = start + thread; row < end; row += ${workgroup}u) { terms[row] = all; }
}
`;
};
