import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface GeluVariant {
  /** GELU by the error function, instead of its approximation by tanh */
  exact: boolean;
  /** four elements per thread; the length of arrays is then a multiple of four */
  vector: boolean;
  workgroup: number;
}

/**
 * WGSL `cdf(x)` and `slope(x)`: gelu(x) = x · cdf(x), and slope is the derivative of cdf.
 *
 * 0.5 (1 + tanh(u)) is sigmoid(2 u), which needs no tanh: adapters differ in theirs. erfc is Numerical Recipes' erfcc, whose
 * relative error is 1.2e-7.
 */
const parts = (exact: boolean, type: string) =>
  exact
    ? `
const TERMS = array<f32, 10>(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277);
fn cdf(x: ${type}) -> ${type} {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.5 * z);
  var sum = ${type}(TERMS[9]);
  ${[8, 7, 6, 5, 4, 3, 2, 1, 0].map((n) => `sum = sum * t + TERMS[${n}];`).join(" ")}
  let tail = 0.5 * t * exp(max(sum - z * z, ${type}(-87.0)));
  return select(tail, 1.0 - tail, x >= ${type}());
}
fn slope(x: ${type}) -> ${type} { return 0.39894228 * exp(max(-0.5 * x * x, ${type}(-87.0))); }`
    : `
fn cdf(x: ${type}) -> ${type} {
  let u = 1.59576912 * x * (1.0 + 0.044715 * x * x);
  return 1.0 / (1.0 + exp(clamp(-u, ${type}(-87.0), ${type}(87.0))));
}
fn slope(x: ${type}) -> ${type} {
  let s = cdf(x);
  return s * (1.0 - s) * 1.59576912 * (1.0 + 0.134145 * x * x);
}`;

// gelu: y = x * cdf(x), the standard normal distribution's, or with tanh's approximation of it
//
// Grid     one thread for each element or vec4
// Shapes   x, y [count]
// Writes   y by assignment
// Source   Hendrycks and Gimpel 2016, arXiv:1606.08415
export const gelu = ({ exact, vector, workgroup }: GeluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@group(0) @binding(2) var<uniform> params: Params;
${parts(exact, type)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  y[i] = x[i] * cdf(x[i]);
}
`;
};

// gelu_backward: x <- dy * (cdf(x) + x * slope(x)), dy <- gelu(x)
//
// Grid     one thread for each element or vec4
// Shapes   x, dy [count]
// Writes   both in place: x becomes its gradient, dy the output of the forward pass
export const geluBackward = ({ exact, vector, workgroup }: GeluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> dy: array<${type}>;
@group(0) @binding(2) var<uniform> params: Params;
${parts(exact, type)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let v = x[i];
  let p = cdf(v);
  x[i] = dy[i] * (p + v * slope(v));
  dy[i] = v * p;
}
`;
};
