import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowSum } from "../lib/reduce.ts";

/** What one compiled variant is specialised to. */
interface EntropyMaskVariant {
  /** threads, a power of two */
  workgroup: number;
}

// entropy_mask: 1 for rows whose entropy is at or above a quantile of all, and each one's share of a mean over those
//
//   quantile = lerp(v[rank], v[rank + 1], part) of the entropies in ascending order, as torch.quantile has it
//
// Grid     one workgroup
// Shapes   entropy, counted, slope [n]; slope = factor / number of rows that count, 0 for the others
// Writes   counted, slope by assignment
// Note     v[rank] is found bit by bit: bits of f32, sign flipped, have the order of their values. 32 counts of all rows
// Source   Wang et al. 2025, arXiv:2506.01939
export const entropyMask = ({ workgroup }: EntropyMaskVariant) => wgsl`
struct Params { n: u32, rank: u32, part: f32, factor: f32 }

@group(0) @binding(0) var<storage, read> entropy: array<f32>;
@group(0) @binding(1) var<storage, read_write> counted: array<f32>;
@group(0) @binding(2) var<storage, read_write> slope: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> least: atomic<u32>;
${rowSum(false, workgroup)}

fn keyOf(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn valueOf(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}

@compute @workgroup_size(${workgroup})
fn main(@builtin(local_invocation_index) thread: u32) {
  let n = params.n;
  var found = 0u; // key of v[rank]: the largest with at most rank smaller ones
  for (var bit = 0u; bit < 32u; bit++) {
    let tried = found | (0x80000000u >> bit);
    var smaller = 0.0;
    for (var row = thread; row < n; row += ${workgroup}u) {
      if (keyOf(entropy[row]) < tried) { smaller += 1.0; }
    }
    if (u32(rowSum(smaller, thread)) <= params.rank) { found = tried; }
  }

  if (thread == 0u) { atomicStore(&least, 0xffffffffu); }
  workgroupBarrier();
  var upTo = 0.0;
  for (var row = thread; row < n; row += ${workgroup}u) {
    let key = keyOf(entropy[row]);
    if (key <= found) { upTo += 1.0; } else { atomicMin(&least, key); }
  }
  let same = u32(rowSum(upTo, thread)) > params.rank + 1u;
  let above = atomicLoad(&least);
  let lower = valueOf(found);
  var upper = lower;
  if (!same && above != 0xffffffffu) { upper = valueOf(above); }
  var threshold = lower + params.part * (upper - lower);
  if (params.part >= 0.5) { threshold = upper - (1.0 - params.part) * (upper - lower); }

  var mine = 0.0;
  for (var row = thread; row < n; row += ${workgroup}u) {
    if (entropy[row] >= threshold) { mine += 1.0; }
  }
  let number = max(1.0, rowSum(mine, thread));
  for (var row = thread; row < n; row += ${workgroup}u) {
    let counts = select(0.0, 1.0, entropy[row] >= threshold);
    counted[row] = counts;
    slope[row] = counts * params.factor / number;
  }
}
`;
