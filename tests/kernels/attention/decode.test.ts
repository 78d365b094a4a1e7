import { expect, it } from "vitest";
import { decodeCases } from "../../../src/kernels/attention/decode.cases.ts";
import { decodeAttention, decodeForms } from "../../../src/kernels/attention/decode.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("decoding", decodeCases);

const gpu = useGpu();

it("a row's bits do not depend on whether longer rows share the pass", async () => {
  const heads = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 24 };
  const capacity = 640; // more than a split of any adapter
  const numbers = (count: number, scale: number) =>
    Float32Array.from({ length: count }, (_, i) => scale * Math.sin(12.9898 * i * i + i));
  const upload = (count: number, width: number, scale: number, label: string) =>
    gpu().upload(numbers(count * width, scale), [count, width], "f32", label, "scratch");
  const cache = { keys: upload(2 * capacity, 48, 2, "keys"), values: upload(2 * capacity, 48, 1, "values") };
  const q = numbers(2 * 192, 3); // 4 query heads, 2 key and 2 value heads of 24
  const first = async (positions: number[], form: ReturnType<typeof decodeForms>[number]) => {
    const rows = positions.length;
    const record = gpu().recorder();
    const read = record.scope(() => {
      const ints = (values: number[], label: string) => record.upload(Uint32Array.from(values), [rows], label);
      const query = record.upload(q.subarray(0, 192 * rows), [rows, 192], "qkv");
      const [slots, at] = [ints(rows === 1 ? [1] : [1, 0], "slots"), ints(positions, "positions")];
      const longest = Math.max(...positions);
      const rest = { slots, positions: at, capacity, longest };
      return record.read(decodeAttention(record, query, cache, heads, rest, form));
    });
    record.submit();
    return new Uint32Array(await read).slice(0, 96);
  };
  for (const form of decodeForms(gpu(), 24)) {
    for (const position of [0, 2, 40, 63, 300]) {
      expect(await first([position, 600], form), `${form}, position ${position}`).toEqual(
        await first([position], form),
      );
    }
  }
  gpu().drop(cache.keys, cache.values);
});
