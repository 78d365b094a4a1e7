import { describe, expect, it } from "vitest";
import { loraStarter } from "../../../src/model/adapters/lora-init.ts";
import { uniformFrom } from "../../../src/train/seed.ts";

const [R, IN, OUT] = [8, 300, 200];
const parameter = (part: "A" | "B", layer = 0) => ({
  name: `base_model.model.model.layers.${layer}.self_attn.q_proj.lora_${part}.weight`,
  shape: part === "A" ? [R, IN] : [OUT, R],
  decay: true,
});
const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
const largest = (values: Float32Array) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
/** B·A */
const product = (b: Float32Array, a: Float32Array) =>
  Float32Array.from({ length: OUT * IN }, (_, at) => {
    const [o, i] = [Math.floor(at / IN), at % IN];
    let sum = 0;
    for (let k = 0; k < R; k++) sum += b[o * R + k] * a[k * IN + i];
    return sum;
  });

describe("LoRA starts as PEFT starts it", () => {
  const start = (init: "true" | "gaussian" | "orthogonal" | "false", seed = 5) => {
    const initial = loraStarter(init, uniformFrom(seed));
    return { a: initial(parameter("A")), b: initial(parameter("B")) };
  };

  it("true: A uniform within 1/√in, B zero", () => {
    const { a, b } = start("true");
    expect(largest(a)).toBeLessThanOrEqual(1 / Math.sqrt(IN));
    expect(deviation(a)).toBeCloseTo(1 / Math.sqrt(3 * IN), 2);
    expect(largest(b)).toBe(0);
  });

  it("gaussian: A with a deviation of 1/r, B zero", () => {
    const { a, b } = start("gaussian");
    expect(deviation(a)).toBeCloseTo(1 / R, 2);
    expect(largest(a)).toBeGreaterThan(2 / R);
    expect(largest(b)).toBe(0);
  });

  it("orthogonal: neither is zero, their product is; another layer has a basis of its own", () => {
    const { a, b } = start("orthogonal");
    // a tenth of a normal number times a row of an orthogonal matrix: r/2 terms of variance 1/r in each entry
    expect(deviation(a)).toBeCloseTo(0.1 * Math.SQRT1_2, 2);
    expect(deviation(b)).toBeCloseTo(0.1 * Math.SQRT1_2, 2);
    expect(largest(product(b, a))).toBeLessThan(1e-7);
    const initial = loraStarter("orthogonal", uniformFrom(5));
    initial(parameter("A"));
    expect(largest(product(initial(parameter("B", 1)), a))).toBeGreaterThan(1e-3);
    expect(() => initial({ ...parameter("A", 2), shape: [7, IN] })).toThrow("rank 7: the rank must be even");
  });

  it("false: both uniform, by what they read", () => {
    const { a, b } = start("false");
    expect(deviation(a)).toBeCloseTo(1 / Math.sqrt(3 * IN), 2);
    expect(deviation(b)).toBeCloseTo(1 / Math.sqrt(3 * R), 2);
    expect(largest(b)).toBeLessThanOrEqual(1 / Math.sqrt(R));
  });
});
