/**
 * Runs once before the fast tests. They compile more than they compute, and Mesa's renderer compiles kernels for vectors of 128 bits
 * in a third of the time, and in less without LLVM's optimisations. Their kernels are small: to wake further threads for each takes
 * longer than they compute, and other test files use the cores. Slow tests have the processor's own width, optimised kernels and all
 * threads; `LP_NATIVE_VECTOR_WIDTH=256 npm test` gives that width to all.
 */
export default function setup(): void {
  process.env.LP_NATIVE_VECTOR_WIDTH ||= "128";
  process.env.GALLIVM_PERF ||= "nopt";
  process.env.LP_NUM_THREADS ||= "0";
}
