import type { KernelCase } from "../check.ts";
import { maskLogits, maskLogitsReference } from "./mask-logits.ts";

const SHAPES: [rows: number, shards: number[]][] = [
  [1, [1]],
  [5, [63]],
  [3, [97, 33]],
  [2, [37984, 37984]],
];

/** Cases of `maskLogits`; exact: beside 1e30, any other tolerance would hide errors of the logits that stay. */
export const maskLogitsCases: KernelCase[] = SHAPES.map(([rows, shards]) => ({
  kernel: "maskLogits",
  name: `[${rows},${shards.join("+")}]`,
  tolerance: 0,
  run(check) {
    const words = Math.ceil(shards.reduce((a, b) => a + b) / 32);
    const bits = Uint32Array.from({ length: rows * words }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 0);
    const allowed = { ...check.integers(Array.from(bits), "allowed"), shape: [rows, words] };
    let start = 0;
    const parts = shards.map((cols, n) => {
      const values = Float32Array.from({ length: rows * cols }, () => 5 * check.random());
      const part = { values, cols, start, tensor: check.given(values, [rows, cols], `logits ${n}`).tensor };
      start += cols;
      return part;
    });
    maskLogits(check.record, parts, allowed);
    for (const [n, { values, cols, start, tensor }] of parts.entries()) {
      const want = Array.from({ length: rows }, (_, r) =>
        maskLogitsReference(
          values.subarray(r * cols, (r + 1) * cols),
          bits.subarray(r * words, (r + 1) * words),
          start,
        ),
      );
      check.compare(`logits ${n}`, tensor, Float32Array.from(want.flatMap((row) => [...row])));
    }
  },
}));
