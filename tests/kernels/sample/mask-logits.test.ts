import { describe, expect, it } from "vitest";
import { maskLogitsCases } from "../../../src/kernels/sample/mask-logits.cases.ts";
import { maskLogits } from "../../../src/kernels/sample/mask-logits.ts";
import { sample } from "../../../src/kernels/sample/sample.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("maskLogits", maskLogitsCases);

const device = useGpu();

describe("maskLogits before sample", () => {
  it.each([
    ["greedy", { temperature: 1, greedy: true }],
    ["temperature 0.05", { temperature: 0.05 }],
    ["every processor", { temperature: 0.7, top_k: 5, top_p: 0.9, min_p: 0.05 }],
    ["more of top-k than tokens are allowed", { temperature: 1, top_k: 50 }],
  ])("draws only allowed tokens: %s", async (_, settings) => {
    const [rows, vocab, words] = [64, 97, 4];
    const record = device().recorder();
    const read = record.scope(() => {
      const up = (values: Uint32Array, shape: number[], label: string) => record.upload(values, shape, label);
      const logits = record.upload(
        Float32Array.from({ length: rows * vocab }, (_, i) => Math.sin(i) * 8),
        [rows, vocab],
        "logits",
      );
      // row r may draw r and 96
      const bits = new Uint32Array(rows * words);
      for (let r = 0; r < rows; r++) for (const id of [r, 96]) bits[r * words + (id >>> 5)] |= 1 << (id & 31);
      maskLogits(record, [{ tensor: logits, start: 0 }], up(bits, [rows, words], "allowed"));
      const { tokens, logp } = sample(record, [{ tensor: logits, start: 0 }], {
        ...{ top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1, ...settings, vocab },
        seeds: up(
          Uint32Array.from({ length: rows }, (_, r) => r),
          [rows],
          "seeds",
        ),
        positions: up(new Uint32Array(rows), [rows], "positions"),
      });
      return [record.read(tokens), record.read(logp)];
    });
    record.submit();
    const tokens = new Uint32Array(await read[0]);
    const logps = new Float32Array(await read[1]);
    for (const [r, token] of tokens.entries()) expect([r, 96]).toContain(token);
    expect(logps.every((value) => value <= 1e-6 && value > -1e4)).toBe(true); // among the allowed tokens
    expect(new Set(tokens).size).toBeGreaterThan(2);
  });

  it("needs a bit for every token", () => {
    const record = device().recorder();
    record.scope(() => {
      const logits = record.upload(new Float32Array(70), [1, 70], "logits");
      const allowed = record.upload(new Uint32Array(2), [1, 2], "allowed");
      expect(() => maskLogits(record, [{ tensor: logits, start: 0 }], allowed)).toThrow(
        /up to 70: the mask has 64 bits/,
      );
    });
    record.submit();
  });
});
