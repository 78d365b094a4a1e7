import type { Gpu } from "../src/gpu/device.ts";
import { attention, spansOf } from "../src/kernels/attention/attention.ts";
import { gelu } from "../src/kernels/mlp/gelu.ts";
import { layerNorm } from "../src/kernels/norm/layer-norm.ts";
import { blendRows } from "../src/kernels/vision/blend-rows.ts";
import { positionBlend } from "../src/model/vision/places.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";

/** Sizes of Qwen3.5-0.8B's tower. */
const HIDDEN = 768;
const INNER = 3072;
const HEADS = { num_attention_heads: 12, num_key_value_heads: 12, head_dim: 64, causal: false };
/** Rows of the learned grid of positions. */
const SIDE = 48;

/** The parts of a tower's block that no language model has, over one image of each number of patches, a multiple of 32. */
function visionSubjects(gpu: Gpu, counts: readonly number[]): Subject[] {
  const subjects: Subject[] = [];
  for (const count of counts) {
    const patches = Math.ceil(count / 32) * 32;
    const make = (width: number, label: string) => randomTensor(gpu, [patches, width], "f32", label);
    const [x, qkv, up] = [make(HIDDEN, "x"), make(3 * HIDDEN, "qkv"), make(INNER, "up")];
    const scale = {
      weight: randomTensor(gpu, [HIDDEN], "bf16", "norm.weight"),
      bias: randomTensor(gpu, [HIDDEN], "bf16", "norm.bias"),
    };
    const table = randomTensor(gpu, [SIDE * SIDE, HIDDEN], "bf16", "positions");
    const spans = gpu.upload(spansOf([0, patches]), [patches, 2], "u32", "spans", "scratch");
    const blend = positionBlend([[1, 16, patches / 16]], SIDE, 2);
    const add = (what: string, shape: string, flops: number | null, run: Subject["run"]) =>
      subjects.push({ what: `${what} ${patches}`, shape, dtype: "f32", flops, run });
    const whole = 4 * patches * patches * HIDDEN;
    add("whole attention", `[${patches},12×64]`, whole, (r) => void attention(r, qkv, spans, HEADS));
    add("layer norm", `[${patches},${HIDDEN}]`, null, (r) => void layerNorm(r, x, scale, 1e-6));
    add("gelu", `[${patches},${INNER}]`, null, (r) => void gelu(r, up, "gelu_pytorch_tanh"));
    add("blended positions", `[${patches},${HIDDEN}]`, null, (r) => blendRows(r, table, blend, x));
  }
  return subjects;
}

/** A vision tower's kernels beside the matmuls at the model's shapes. */
export async function benchVision(gpu: Gpu, counts: readonly number[], rounds: number): Promise<BenchRow[]> {
  const subjects = [...visionSubjects(gpu, counts), ...yardsticks(gpu, 256)];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds));
}
