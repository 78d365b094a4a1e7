/**
 * Whether kernels use subgroups; "id": also with WGSL's subgroup_id, which is not guaranteed to follow from a thread's
 * index.
 */
export type Subgroups = boolean | "id";

/** Inputs of `main` that `subgroupBegins` needs beside `lane` and `thread`. */
export const subgroupSize = (subgroups: Subgroups): string =>
  `@builtin(subgroup_size) lanes: u32,${subgroups === "id" ? "\n  @builtin(subgroup_id) sub: u32," : ""}`;

/** Declarations that give a kernel's functions the subgroup's index, and the first line of its `main`. */
export const SUBGROUP_NUMBER = "var<private> subgroupNumber: u32;";
export const subgroupBegins = (subgroups: Subgroups): string =>
  subgroups ? `subgroupNumber = ${subgroups === "id" ? "sub" : "thread / lanes"};` : "";

/**
 * WGSL `rowSum(value, thread[, lane, lanes])`: the sum of `value` over the workgroup, the same for every thread.
 *
 * One barrier with subgroups, else log2(workgroup). Uses workgroup memory; ends with a barrier, so it may be called
 * again.
 */
export function rowSum(subgroups: Subgroups, workgroup: number): string {
  return subgroups
    ? `
${SUBGROUP_NUMBER}
var<workgroup> partial: array<f32, ${workgroup}>;
fn rowSum(value: f32, thread: u32, lane: u32, lanes: u32) -> f32 {
  let inSubgroup = subgroupAdd(value);
  if (lane == 0u) { partial[subgroupNumber] = inSubgroup; }
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
