/**
 * Runs once before the fast tests. They compile more than they compute, and Mesa's renderer compiles kernels for vectors of 128 bits
 * in a third of the time, and in less without LLVM's optimisations. Slow tests have the processor's own width and optimised kernels;
 * `LP_NATIVE_VECTOR_WIDTH=256 npm test` gives that width to all.
 */
export default function setup(): void {
  process.env.LP_NATIVE_VECTOR_WIDTH ||= "128";
  process.env.GALLIVM_PERF ||= "nopt";
}
