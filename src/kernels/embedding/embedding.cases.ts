import { sizeOf, view } from "../../gpu/tensor.ts";
import type { CaseRun, Input, KernelCase } from "../check.ts";
import {
  embedding,
  embeddingBackward,
  embeddingBackwardReference,
  embeddingReference,
  groupTokens,
  type WeightShard,
} from "./embedding.ts";

const SHAPES = [
  [1, 1, 1, 1],
  [63, 65, 5, 2],
  [65, 894, 9, 3],
  [7, 896, 40, 2],
] as const;

/** Storage of a table: `frozen` as in a model, else in buffers. */
const TABLES = [
  ["f32", false],
  ["f16", false],
  ["bf16", false],
  ["f32", true],
  ["bf16", true],
] as const;

/** Cases of the embedding: table sizes, storage, shards and noise. */
export const embeddingCases: KernelCase[] = SHAPES.flatMap(([tokens, width, rows, shards]) => [
  ...TABLES.filter(([, frozen]) => !frozen || width === 896).map(
    ([dtype, frozen]): KernelCase => ({
      kernel: "embedding",
      name: `[${tokens}] of [${rows},${width}] ${dtype}${frozen ? " frozen" : ""} in ${shards}`,
      tolerance: 2e-6,
      needs: dtype === "f16" ? "f16" : undefined,
      run(check) {
        const [ids, list] = draw(check, tokens, rows);
        const { table, parts } = sharded(check, rows, width, shards, dtype, frozen);
        const scale = check.input([tokens], "scale");
        const plain = embedding(check.record, ids, parts);
        const noisy = embedding(check.record, ids, parts, { noiseScale: 0.25, seed: 7 });
        const byToken = embedding(check.record, ids, parts, { noise: { scale: scale.tensor, seed: 0xdeadbeef } });
        // every other row is replaced
        const own = Array.from({ length: rows }, (_, id) => id).filter((id) => id % 2 === 0);
        const places = check.integers(
          Array.from({ length: rows }, (_, id) => (id % 2 === 0 ? id / 2 : own.length)),
          "places",
        );
        const replacing = check.input([own.length, width], "rows");
        const mixed = embedding(check.record, ids, parts, { noiseScale: 0.25, seed: 7 });
        const over = { x: mixed, places };
        embedding(check.record, ids, [{ start: 0, tensor: replacing.tensor }], { noiseScale: 0.25, seed: 7, over });
        check.compare(
          "x with rows replaced",
          mixed,
          embeddingReference(
            list,
            table.map((v, i) => {
              const id = Math.floor(i / width);
              return id % 2 === 0 ? replacing.values[(id / 2) * width + (i % width)] : v;
            }),
            width,
            () => 0.25,
            7,
          ),
        );
        check.compare("x", plain, embeddingReference(list, table, width));
        check.compare(
          "x + noise",
          noisy,
          embeddingReference(list, table, width, () => 0.25, 7),
        );
        check.compare(
          "x + noise by token",
          byToken,
          embeddingReference(list, table, width, (t) => scale.values[t], 0xdeadbeef),
        );
      },
    }),
  ),
  {
    kernel: "embedding",
    name: `[${tokens}] of [${rows},${width}] in ${shards}, backward`,
    tolerance: 2e-6,
    run(check) {
      const [, list] = draw(check, tokens, rows);
      const dy = check.input([tokens, width], "dy");
      const { table, parts } = sharded(check, rows, width, shards, "f32");
      const groups = groupTokens(Uint32Array.from(list));
      const tensors = {
        tokens: check.integers([...groups.tokens], "tokens"),
        starts: check.integers([...groups.starts], "starts"),
        order: check.integers([...groups.order], "order"),
      };
      const want = embeddingBackwardReference(list, dy.values, rows);
      for (const { tensor, start } of parts) {
        embeddingBackward(check.record, dy.tensor, tensors, tensor, start);
        const size = sizeOf(tensor.shape);
        const slice = want.subarray(start * width, start * width + size);
        check.compare(
          `dweight from ${start}`,
          view(tensor, tensor.shape),
          slice.map((d, i) => d + table[start * width + i]),
        );
      }
    },
  },
]);

function draw(check: CaseRun, tokens: number, rows: number) {
  const list = Array.from({ length: tokens }, () => Math.floor(((check.random() + 1) / 2) * rows));
  return [check.integers(list, "ids"), list] as const;
}

/** A table in shards of uneven sizes, and its values in one piece. */
function sharded(
  check: CaseRun,
  rows: number,
  width: number,
  count: number,
  dtype: "f32" | "f16" | "bf16",
  frozen = false,
) {
  const table = new Float64Array(rows * width);
  const parts: WeightShard[] = [];
  for (let n = 0, start = 0; n < count; n++) {
    const size = n === count - 1 ? rows - start : Math.floor(rows / count);
    const [shape, label] = [[size, width], `shard ${n}`] as const;
    const piece: Input = frozen ? check.frozen(shape, label, dtype) : check.input(shape, label, 1, dtype);
    table.set(piece.values, start * width);
    parts.push({ tensor: piece.tensor, start });
    start += size;
  }
  return { table, parts };
}
