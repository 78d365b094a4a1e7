import { describe, expect, it } from "vitest";
import { MemoryError } from "../../src/errors.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import { sizeClass } from "../../src/gpu/pool.ts";

const MIB = 1 << 20;
const pool = () => fakeGpu({ limits: { maxBufferSize: 256 * MIB, maxStorageBufferBindingSize: 128 * MIB } }).pool;

describe("sizeClass", () => {
  it("is at least the request, at most an eighth more, and whole words", () => {
    for (const bytes of [1, 255, 256, 257, 2048, 2049, 4095, 4096, 4097, 10_000, 1_000_003, 300 * MIB - 1]) {
      const size = sizeClass(bytes);
      expect(size, `${bytes}`).toBeGreaterThanOrEqual(bytes);
      expect(size, `${bytes}`).toBeLessThanOrEqual(Math.max(256, bytes + 256, bytes * 1.125));
      expect(size % 256, `${bytes}`).toBe(0);
    }
  });

  it("gives neighbouring lengths the same class", () => {
    expect(sizeClass(1_000_000)).toBe(sizeClass(1_040_000));
    expect(sizeClass(0)).toBe(256);
  });
});

describe("Pool", () => {
  it("reuses a released block and counts it under its new kind", () => {
    const p = pool();
    const a = p.take(10_000, "activations", "a");
    p.give(a);
    const b = p.take(9_900, "scratch", "b");
    expect(b).toBe(a);
    expect(b.label).toBe("b");
    expect(p.ledger.allocated).toBe(a.size);
    expect(p.ledger.byKind).toEqual({ activations: 0, scratch: a.size });
  });

  it("does not reuse a block that is in use, too small, or much too large", () => {
    const p = pool();
    const a = p.take(MIB, "activations", "a");
    expect(p.take(MIB, "activations", "b")).not.toBe(a);
    p.give(a);
    expect(p.take(2 * MIB, "activations", "larger")).not.toBe(a);
    expect(p.take(MIB / 2, "activations", "half")).not.toBe(a);
    expect(p.take(0.8 * MIB, "activations", "nearly")).toBe(a);
  });

  it("at its budget, frees idle blocks of submitted work, and submits the work that waits to use them", () => {
    const p = pool();
    p.budget = 3 * MIB;
    p.recording();
    p.give(p.take(MIB, "activations", "small"));
    p.take(1.5 * MIB, "activations", "kept");
    let submissions = 0;
    const submit = () => {
      submissions++;
      p.submitted();
    };
    p.take(1.5 * MIB, "activations", "large", false, submit);
    expect(submissions).toBe(1);
    expect(p.ledger.peak).toBe(3 * MIB);
    p.take(MIB, "activations", "more", false, submit); // nothing is idle: the work need not be submitted
    expect(submissions).toBe(1);
    expect(p.ledger.peak).toBe(4 * MIB);
  });

  it("keeps idle blocks while another recording may use them", () => {
    const p = pool();
    p.budget = 2 * MIB;
    p.recording();
    p.recording();
    p.give(p.take(MIB, "activations", "small"));
    p.take(2 * MIB, "activations", "large", false, () => p.submitted());
    expect(p.ledger.allocated).toBe(3 * MIB);
    p.submitted();
    p.take(2 * MIB, "activations", "larger");
    expect(p.ledger.allocated).toBe(4 * MIB); // the small one is gone
  });

  it("refuses to take a block back twice", () => {
    const p = pool();
    const block = p.take(100, "scratch", "twice");
    p.give(block);
    expect(() => p.give(block)).toThrow(new MemoryError("Cannot release twice twice"));
  });

  it("never gives a long-lived tensor a used block, nor rounds it up by more than 256 bytes", () => {
    const p = pool();
    const a = p.take(MIB, "activations", "a");
    p.give(a);
    const weights = p.take(MIB + 4, "weights", "w", true);
    expect(weights).not.toBe(a);
    expect(weights.size).toBe(MIB + 256);
  });

  it("refuses a buffer past the device's limit with both numbers", () => {
    expect(() => pool().take(257 * MIB, "weights", "embed", true)).toThrow(
      `Cannot allocate embed: ${257 * MIB} bytes exceed this device's maxBufferSize of ${256 * MIB} bytes`,
    );
  });

  it("records its peak with its parts, and frees unused blocks on trim", () => {
    const p = pool();
    const a = p.take(MIB, "activations", "a");
    const b = p.take(2 * MIB, "weights", "b", true);
    p.give(a);
    p.trim();
    expect(p.ledger.allocated).toBe(2 * MIB);
    expect(p.ledger.peak).toBe(3 * MIB);
    expect(p.ledger.peakByKind).toEqual({ activations: MIB, weights: 2 * MIB });
    expect(p.largest(5)).toEqual([{ label: "b", size: 2 * MIB }]);
    p.drop(b);
    expect(p.ledger.allocated).toBe(0);
  });

  it("frees blocks after exactly nine unused steps", () => {
    const p = pool();
    const used = p.take(MIB, "activations", "used");
    p.give(p.take(4 * MIB, "activations", "idle"));
    for (let step = 0; step < 8; step++) {
      p.endStep();
      expect(p.ledger.allocated).toBe(5 * MIB);
    }
    p.endStep();
    expect(p.ledger.allocated).toBe(MIB);
    expect(used.free).toBe(false);
  });

  it("frees idle blocks of earlier steps before it exceeds its budget, but never a block of this step", () => {
    const p = pool();
    p.budget = 6 * MIB;
    const old = p.take(4 * MIB, "activations", "old");
    p.give(old);
    const fresh = p.take(MIB, "activations", "fresh");
    p.take(5 * MIB, "activations", "past the budget"); // work recorded in this step may still use free blocks
    expect(p.ledger.allocated).toBe(10 * MIB);
    p.give(fresh);
    p.endStep();
    p.take(2 * MIB, "activations", "next");
    expect(p.ledger.allocated).toBe(7 * MIB);
    expect(p.dropped).toBe(2);
  });

  it("reuses a free block of this step that is much too large before it exceeds its budget", () => {
    const p = pool();
    p.budget = 5 * MIB;
    p.give(p.take(4 * MIB, "activations", "large"));
    expect(p.take(2 * MIB, "scratch", "small").size).toBe(4 * MIB);
    expect(p.ledger).toMatchObject({ allocated: 4 * MIB, byKind: { activations: 0, scratch: 4 * MIB } });
  });
});

it("a step like the last one gets the same buffers in the same places", () => {
  const pool = fakeGpu({ limits: { maxBufferSize: 1 << 28, maxStorageBufferBindingSize: 1 << 27 } }).pool;
  const step = () => {
    const blocks = [1000, 5000, 5000, 1000, 70_000].map((bytes) => pool.take(bytes, "activations", "x"));
    const ids = blocks.map(({ id }) => id);
    for (const i of [2, 0, 4, 3, 1]) pool.give(blocks[i]);
    pool.endStep();
    return ids;
  };
  step();
  const second = step();
  for (let i = 0; i < 5; i++) expect(step()).toEqual(second);
});
