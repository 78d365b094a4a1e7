import type { KernelCase } from "../check.ts";
import { putColumns, putColumnsReference, takeColumns } from "./token-columns.ts";

const SHAPES: [rows: number, shards: number[], ids: number[]][] = [
  [1, [1], [0]],
  [5, [63], [62, 0, 7]],
  [65, [97, 33], [129, 96, 97, 3]],
  [3, [37984, 894], Array.from({ length: 65 }, (_, i) => (i * 599) % 38878)],
];

/** Cases of the columns of some tokens; exact: values move, and none changes. */
export const tokenColumnsCases: KernelCase[] = SHAPES.map(([rows, shards, ids]) => ({
  kernel: "tokenColumns",
  name: `${ids.length} of [${rows},${shards.join("+")}]`,
  tolerance: 0,
  run(check) {
    const index = check.integers(ids, "ids");
    const columns = check.input([rows, ids.length], "columns");
    const taken = check.given(new Float32Array(rows * ids.length).fill(5), [rows, ids.length], "taken").tensor;
    let start = 0;
    const all = shards.map((cols, n) => {
      const before = check.input([rows, cols], `logits ${n}`);
      const after = check.given(Float32Array.from(before.values), [rows, cols], `logits ${n} to take from`).tensor;
      const shard = { start, cols, before, after };
      start += cols;
      return shard;
    });
    const whole = new Float64Array(rows * ids.length);
    for (const [n, { start, cols, before, after }] of all.entries()) {
      putColumns(check.record, { logits: before.tensor, start, ids: index }, columns.tensor);
      takeColumns(check.record, { logits: after, start, ids: index }, taken);
      const row = (values: ArrayLike<number>, r: number, width: number) =>
        Array.from({ length: width }, (_, i) => values[r * width + i]);
      const each = (columns: (r: number) => ArrayLike<number>) =>
        Float64Array.from(
          Array.from({ length: rows }, (_, r) => [
            ...putColumnsReference(row(before.values, r, cols), columns(r), ids, start),
          ]).flat(),
        );
      check.compare(
        `logits ${n}`,
        before.tensor,
        each((r) => row(columns.values, r, ids.length)),
      );
      check.compare(
        `what stays of logits ${n}`,
        after,
        each(() => new Float64Array(ids.length)),
      );
      ids.forEach((id, k) => {
        if (id < start || id - start >= cols) return;
        for (let r = 0; r < rows; r++) whole[r * ids.length + k] = before.values[r * cols + id - start];
      });
    }
    check.compare("columns", taken, whole);
  },
}));
