/**
 * WGSL `rowSum(value, thread[, lane, lanes])`: the sum of `value` over the workgroup, the same for every thread.
 *
 * One barrier with subgroups, else log2(workgroup). Uses workgroup memory; ends with a barrier, so it may be called
 * again.
 */
export function rowSum(subgroups: boolean, workgroup: number): string {
  return subgroups
    ? `
var<workgroup> partial: array<f32, ${workgroup}>;
fn rowSum(value: f32, thread: u32, lane: u32, lanes: u32) -> f32 {
  let inSubgroup = subgroupAdd(value);
  if (lane == 0u) { partial[thread / lanes] = inSubgroup; }
  workgroupBarrier();
  var total = 0.0;
  for (var s = 0u; s * lanes < ${workgroup}u; s++) { total += partial[s]; }
  workgroupBarrier();
  return total;
}`
    : `
var<workgroup> partial: array<f32, ${workgroup}>;
fn rowSum(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  for (var half = ${workgroup / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { partial[thread] += partial[thread + half]; }
  }
  workgroupBarrier();
  let total = partial[0];
  workgroupBarrier();
  return total;
}`;
}
