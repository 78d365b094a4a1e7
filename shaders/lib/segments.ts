/** Threads that share a row where rows are short, such as heads. */
export const SEGMENT = 16;

/**
 * WGSL `segmentSum(value, thread)`: the sum of `value` over the 16 threads of a segment, the same for each of them.
 *
 * Uses workgroup memory and barriers: all threads call it. It ends with a barrier, so it may be called again.
 */
export const segmentSum = (workgroup: number) => `
var<workgroup> partial: array<f32, ${workgroup}>;
fn segmentSum(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  var total = 0.0;
  let first = thread / ${SEGMENT}u * ${SEGMENT}u;
  for (var i = 0u; i < ${SEGMENT}u; i++) { total += partial[first + i]; }
  workgroupBarrier();
  return total;
}`;
