import { expect, it } from "vitest";
import { attentionCases } from "../../../src/kernels/attention/attention.cases.ts";
import { attention, attentionForms, attentionReference, spansOf } from "../../../src/kernels/attention/attention.ts";
import { tileBlocks } from "../../../src/kernels/attention/tile-blocks.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { describeCases, useGpu } from "../harness.ts";
import { attendBits } from "./tile-blocks.ts";

describeCases("attention", attentionCases);

it.each([true, false])("the reference gradients agree with finite differences, causal %s", (causal) => {
  const heads = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, causal };
  const spans = spansOf([0, 3, 7]);
  const random = (n: number, salt: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(5 * i + salt));
  const args = [random(7 * 16, 1), random(7 * 8, 2), random(7 * 8, 3)] as const;
  const dout = random(7 * 16, 4);
  const { dq, dk, dv } = attentionReference(...args, spans, heads, dout);
  [dq, dk, dv].forEach((gradient, which) => {
    const loss = (moved: Float64Array) => {
      const [q, k, v] = args.map((value, i) => (i === which ? moved : value));
      return attentionReference(q, k, v, spans, heads).o.reduce((sum, value, i) => sum + value * dout[i], 0);
    };
    expect(gradientError(loss, args[which], gradient)).toBeLessThan(1e-7);
  });
});

const gpu = useGpu();

it("a row's bits do not depend on earlier sequences of the batch", async () => {
  const heads = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 24 }; // which a case compiles in all forms
  const width = 8 * 24;
  const numbers = (rows: number) => Float32Array.from({ length: rows * width }, (_, i) => 2 * Math.sin(i * i + 1));
  const length = 70;
  const own = numbers(length);
  for (const form of attentionForms(gpu())) {
    const last = async (before: readonly number[]) => {
      const starts = [0];
      for (const n of before) starts.push(starts[starts.length - 1] + n);
      const first = starts[starts.length - 1];
      const rows = first + length;
      const all = new Float32Array(rows * width);
      all.set(numbers(first).map((v) => -v));
      all.set(own, first * width);
      const record = gpu().recorder();
      const read = record.scope(() => {
        const spans = record.upload(spansOf([...starts, rows]), [2 * rows], "spans");
        const qkv = record.upload(all, [rows, width], "qkv");
        return record.read(attention(record, qkv, { ...spans, shape: [rows, 2] }, heads, form).o);
      });
      record.submit();
      return new Uint32Array(await read).subarray(first * 96, rows * 96);
    };
    const alone = await last([]);
    for (const before of [[3], [9, 4], [70, 1, 1], [16, 33]]) {
      expect(await last(before), `${form} after ${before}`).toEqual(alone);
    }
  }
});

it("cut into dispatches for a slow GPU, gives the same bits", async () => {
  const whole = await attendBits(gpu(), "tiled", [4, 2, 24], 1e12);
  const cut = await attendBits(gpu(), "tiled", [4, 2, 24], 1e3);
  expect([whole.dispatches, cut.dispatches]).toEqual([4, 3 * 4 + 1]); // 194 rows are four tiles
  expect(cut.o).toEqual(whole.o);
  expect(cut.dqkv).toEqual(whole.dqkv);
});

it.each(["up", "down", "even"] as const)("no dispatch passes what a GPU of 0.2 TFLOP/s does in 200 ms: %s", (grows) => {
  const [tokens, width] = [8192, 16 * 128];
  const work = 2 * 2 * tokens * tokens * width; // of the gradients of keys and values
  const blocks = tileBlocks(tokens / 64, work, 2e10, grows); // Pace aims at 100 ms
  let next = 0;
  for (const { first, count } of blocks) {
    expect(first).toBe(next);
    next += count;
  }
  expect(next).toBe(tokens / 64);
  expect(Math.max(...blocks.map((block) => block.work))).toBeLessThanOrEqual(4e10);
  const sum = blocks.reduce((all, block) => all + block.work, 0);
  expect(Math.abs(sum / work - 1)).toBeLessThan(1e-9);
  expect(blocks.length).toBeLessThan(2 * Math.ceil(work / 2e10));
  expect(tileBlocks(tokens / 64, work, 1e13, grows)).toHaveLength(1);
  expect(tileBlocks(5, work, 1, grows)).toHaveLength(5);
});
