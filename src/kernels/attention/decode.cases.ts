import { view } from "../../gpu/tensor.ts";
import type { KernelCase } from "../check.ts";
import { roundBf16Reference } from "../elementwise.ts";
import { decodeAttention, decodeAttentionReference, decodeForms, decodeState, kvWrite } from "./decode.ts";

/** Positions of the rows, query heads, key heads, head_dim, capacity; whether the cache is stored as bf16. */
const CASES: { positions: number[]; h: number; g: number; d: number; capacity: number; bf16?: boolean }[] = [
  { positions: [0], h: 1, g: 1, d: 4, capacity: 1 },
  { positions: [62, 63, 64, 130], h: 5, g: 1, d: 12, capacity: 131 },
  { positions: [5, 200], h: 14, g: 2, d: 64, capacity: 256 },
  { positions: [3, 255, 256, 300], h: 5, g: 1, d: 12, capacity: 301 },
  { positions: [200], h: 16, g: 1, d: 8, capacity: 256 },
  // more splits than groups that combine them, and more elements than they take at once
  { positions: [2100, 40], h: 2, g: 1, d: 36, capacity: 2101 },
  { positions: [77], h: 4, g: 2, d: 128, capacity: 100 },
  { positions: [70, 3], h: 4, g: 1, d: 256, capacity: 80 },
  { positions: [62, 63, 64, 130], h: 5, g: 1, d: 12, capacity: 131, bf16: true },
  { positions: [5, 200], h: 14, g: 2, d: 64, capacity: 256, bf16: true },
];

/** Cases of the cache and of decoding attention. */
export const decodeCases: KernelCase[] = CASES.map(({ positions, h, g, d, capacity, bf16 = false }) => ({
  kernel: "decodeAttention",
  name: `positions ${positions.join(", ")} of ${capacity}, ${h} heads over ${g} of ${d}${bf16 ? ", bf16" : ""}`,
  tolerance: 1e-5,
  run(check) {
    const heads = { num_attention_heads: h, num_key_value_heads: g, head_dim: d };
    const rows = positions.length;
    const slotOf = positions.map((_, r) => (r + 1) % rows); // rows and slots differ
    const width = g * d;
    const stride = h * d + 2 * width;
    const prompt = check.input([rows * capacity, stride], "prompt", 2);
    const fresh = check.input([rows, stride], "qkv", 2);
    const dtype = bf16 ? "bf16" : "f32";
    const cache = {
      keys: check.record.zeros([rows * capacity, width], dtype, "keys"),
      values: check.record.zeros([rows * capacity, width], dtype, "values"),
    };
    const held = (values: Float64Array) => (bf16 ? values.map(roundBf16Reference) : values);
    const pairs: number[] = [];
    positions.forEach((p, r) => {
      for (let j = 0; j < p; j++) pairs.push(r * capacity + j, slotOf[r] * capacity + j);
    });
    if (pairs.length > 0) {
      const flat = check.integers(pairs, "pairs");
      kvWrite(check.record, prompt.tensor, view(flat, [pairs.length / 2, 2]), cache, heads);
    }
    const [slots, at] = [check.integers(slotOf, "slots"), check.integers(positions, "positions")];
    const rest = { slots, positions: at, capacity, longest: Math.max(...positions) };
    const want: number[] = [];
    positions.forEach((p, r) => {
      const part = (values: Float64Array, row: number, column: number, count: number) =>
        values.subarray(row * stride + column, row * stride + column + count);
      const rowsOf = (column: number) =>
        Float64Array.from([
          ...Array.from({ length: p }, (_, j) => [
            ...held(part(prompt.values, r * capacity + j, column, width)),
          ]).flat(),
          ...held(part(fresh.values, r, column, width)),
        ]);
      const reference = decodeAttentionReference(
        part(fresh.values, r, 0, h * d),
        rowsOf(h * d),
        rowsOf(h * d + width),
        p + 1,
        heads,
      );
      want.push(...reference);
    });
    // that of others takes a CPU adapter 1 s to compile: there it runs for heads of two sizes
    for (const form of decodeForms(check.gpu, d).slice(0, rows > 1 && (d === 12 || d === 36) ? 2 : 1)) {
      check.compare(form, decodeAttention(check.record, fresh.tensor, cache, heads, rest, form), want);
    }
  },
}));

for (const turned of [false, true])
  decodeCases.push({
    kernel: "decodeState",
    name: `rows that continue, reach their limit, end, and ended before${turned ? ", with rotary positions" : ""}`,
    tolerance: 0,
    run(check) {
      const ints = (values: number[], label: string) => check.integers(values, label);
      const rows = {
        tokens: ints([1, 2, 3, 4], "tokens"),
        positions: ints([5, 6, 7, 8], "positions"),
        left: ints([9, 1, 5, 0], "left"),
        ...(turned && { angles: ints([2, 6, 3, 8], "angles") }),
      };
      const log = check.record.zeros([2, 4, 2], "u32", "log");
      const logp = check.given(new Float32Array([-1, -2, -3, -4]), [4], "logp");
      const drawn = { tokens: ints([40, 41, 42, 43], "drawn"), logp: logp.tensor };
      decodeState(check.record, drawn, ints([7, 42], "ends"), rows, log, 1);
      // Integers are compared as floats with the same bits: tiny but exact.
      const bits = (values: number[]) => new Float32Array(Uint32Array.from(values).buffer);
      check.compare("tokens", rows.tokens, bits([40, 41, 42, 4]));
      check.compare("positions", rows.positions, bits([6, 7, 8, 8]));
      if (rows.angles) check.compare("angles", rows.angles, bits([3, 7, 4, 8]));
      check.compare("left", rows.left, bits([8, 0, 0, 0]));
      const logged = new Float32Array(16);
      logged.set(bits([40]), 8);
      logged.set([-1], 9);
      logged.set(bits([41]), 10);
      logged.set([-2], 11);
      logged.set(bits([42]), 12);
      logged.set([-3], 13);
      // a row that ended before logs 0xffffffff, a NaN: tests/model/generate/generate.test.ts compares it
      check.compare("log", view(log, [14]), logged.subarray(0, 14));
    },
  });
