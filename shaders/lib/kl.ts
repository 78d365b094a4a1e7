/**
 * WGSL `klTerm(x)`: exp(x) − x − 1, what a token adds to a KL divergence where x is the reference's log-prob minus its own.
 * Near 0 the three terms cancel to rounding, and a series takes their place.
 */
export const klTerm = `
fn klTerm(x: f32) -> f32 {
  if (abs(x) < 0.25) {
    return x * x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0)))));
  }
  return exp(x) - x - 1.0;
}`;
