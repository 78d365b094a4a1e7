import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { EntropyControl, type EntropyFields } from "../../../src/train/grpo/entropy-control.ts";

const FIELDS: EntropyFields = {
  entropy_coef: 0.01,
  use_adaptive_entropy: true,
  entropy_coef_min: 0,
  entropy_coef_max: 0.02,
  entropy_coef_delta: 0.008,
  entropy_target: 2,
};
/** A step of two micro-batches of that mean entropy. */
const step = (entropy: number) => [
  { entropy: 3 * entropy, tokens: 3 },
  { entropy, tokens: 1 },
];

describe("the entropy's weight", () => {
  it("is constant without use_adaptive_entropy, and nothing at 0", () => {
    const fixed = new EntropyControl({ ...FIELDS, use_adaptive_entropy: false });
    expect(fixed.applied).toBe(0.01);
    expect(fixed.taken(step(1))).toEqual({ entropy_coef: 0.01 });
    expect(fixed.applied).toBe(0.01);
    expect(fixed.files()).toEqual([]);
    const off = new EntropyControl({ ...FIELDS, use_adaptive_entropy: false, entropy_coef: 0 });
    expect([off.applied, off.taken(step(1)), off.adaptive]).toEqual([null, {}, false]);
  });

  it("rises while the entropy is low, falls while it is high, and applies only while it is low", () => {
    const control = new EntropyControl(FIELDS);
    expect(control.applied).toBe(0); // nothing is known before the first step
    expect(control.taken(step(1)).entropy_coef).toBeCloseTo(0.018, 12);
    expect(control.applied).toBeCloseTo(0.018, 12);
    expect(control.taken(step(2)).entropy_coef).toBe(0.02); // at the target, up to the bound
    expect(control.taken(step(2.5)).entropy_coef).toBeCloseTo(0.012, 12);
    expect(control.applied).toBe(0);
    control.taken(step(3));
    expect(control.taken(step(3)).entropy_coef).toBe(0);
  });

  it("goes on from a checkpoint, in TRL's file", async () => {
    const control = new EntropyControl(FIELDS);
    control.taken(step(1.5));
    const folder = memoryFolder("checkpoint");
    const [{ name, text }] = control.files();
    expect(name).toBe("entropy_ctrl_state.json");
    expect(JSON.parse(text)).toEqual({ entropy_coef: control.applied, last_world_entropy: 1.5 });
    expect(control.applied).toBeCloseTo(0.018, 12);
    await folder.write(name, text);
    const second = new EntropyControl(FIELDS);
    await second.restore(folder);
    expect(second.applied).toBe(control.applied);
    await folder.write(name, '{"entropy_coef": "much"}');
    await expect(second.restore(folder)).rejects.toThrow("needs the numbers entropy_coef and last_world_entropy");
  });
});
