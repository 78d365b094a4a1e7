import type { Gpu } from "../src/gpu/device.ts";
import { attention, attentionBackward, spansOf } from "../src/kernels/attention/attention.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/** Attention forward and backward over one sequence of each length. FLOPs count the causal half: 2 and 5 products. */
export function attentionSubjects(gpu: Gpu, lengths: readonly number[]): Subject[] {
  const heads = benchModel();
  const { num_attention_heads: h, num_key_value_heads: g, head_dim: d } = heads;
  const subjects: Subject[] = [];
  for (const tokens of lengths) {
    const make = (width: number, label: string) => randomTensor(gpu, [tokens, width], "f32", label);
    const [qkv, dout, o] = [make((h + 2 * g) * d, "qkv"), make(h * d, "dout"), make(h * d, "o")];
    const spans = gpu.upload(spansOf([0, tokens]), [tokens, 2], "u32", "spans", "scratch");
    const stats = gpu.persistent([tokens, h, 2], "f32", "stats", "scratch");
    const product = tokens * tokens * h * d; // 2·T²·H·D, halved
    const shape = `[${tokens},${h}×${d}] over ${g}`;
    const forward = `attention ${tokens}`;
    subjects.push({
      what: forward,
      shape,
      dtype: "f32",
      flops: 2 * product,
      run: (r) => void attention(r, qkv, spans, heads),
    });
    subjects.push({
      what: `attention backward ${tokens}`,
      shape,
      dtype: "f32",
      flops: 5 * product,
      run: (r) => void attentionBackward(r, { qkv, spans, o, dout, stats }, heads),
      against: forward,
    });
  }
  return subjects;
}

/** Attention relative to the matmuls at the model's shapes. */
export async function benchAttention(gpu: Gpu, lengths: readonly number[], rounds: number): Promise<BenchRow[]> {
  const subjects = [...attentionSubjects(gpu, lengths), ...yardsticks(gpu, 256)];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds));
}
