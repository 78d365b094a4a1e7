import type { Gpu } from "../src/gpu/device.ts";
import { head } from "../src/model/layers/head.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor, randomWeights } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/** The output head over the whole vocabulary: log-probs only, and with the gradient of the hidden rows. */
export async function benchHead(gpu: Gpu, rows: number, rounds: number): Promise<BenchRow[]> {
  const { hidden_size: hidden, vocab_size: vocab } = benchModel();
  const x = randomTensor(gpu, [rows, hidden], "f32", "hidden");
  const labels = Uint32Array.from({ length: rows }, (_, i) => (i * 7919 + 11) % vocab);
  const targets = gpu.upload(labels, [rows], "u32", "targets", "scratch");
  const shards = shardsOf(gpu, vocab, hidden);
  const product = 2 * vocab * hidden * rows;
  const shape = `[${rows},${hidden}]→${vocab}`;
  const subjects: Subject[] = [
    {
      what: "head",
      shape,
      dtype: "bf16",
      flops: product,
      run: (r) => void head(r, x, targets, shards, { vocab }, null),
    },
    {
      what: "head with gradient",
      shape,
      dtype: "bf16",
      flops: 2 * product,
      run: (record) =>
        void head(
          record,
          x,
          targets,
          shards,
          { vocab },
          {
            dObjective: (r, _rows, _start, count) =>
              r.upload(new Float32Array(count).fill(-1 / rows), [count], "d.objective"),
            dWeight: null,
          },
        ),
      against: "head",
    },
    ...yardsticks(gpu, rows),
  ];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds, 1000));
}

/** The output table, split if a binding would be too large. */
function shardsOf(gpu: Gpu, vocab: number, hidden: number) {
  const most = Math.floor(gpu.limits.maxStorageBufferBindingSize / (2 * hidden) / 8) * 8;
  const shards = [];
  for (let start = 0; start < vocab; start += most)
    shards.push({
      tensor: randomWeights(gpu, [Math.min(most, vocab - start), hidden], "bf16", `head.${start}`),
      start,
    });
  return shards;
}
