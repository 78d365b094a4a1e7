import type { Gpu } from "../src/gpu/device.ts";
import { doraGains } from "../src/kernels/matmul/dora.ts";
import { type LinearGrads, oneLinear } from "../src/kernels/matmul/linear.ts";
import { loraLinear } from "../src/kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../src/kernels/matmul/lora-linear-backward.ts";
import { matmul } from "../src/kernels/matmul/matmul.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor, randomWeights } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/** The fused LoRA linear against the plain one, forward and backward. The README states the first ratio. */
export async function benchLora(gpu: Gpu, tokens: number, rounds: number, r = 16): Promise<BenchRow[]> {
  const { hidden_size: hidden, intermediate_size: inner } = benchModel();
  const subjects: Subject[] = yardsticks(gpu, tokens);
  for (const [name, out, into] of [
    ["up_proj", inner, hidden],
    ["down_proj", hidden, inner],
  ] as const) {
    const make = (shape: number[], label: string) => randomTensor(gpu, shape, "f32", label);
    const x = make([tokens, into], "x");
    const dy = make([tokens, out], "dy");
    const weight = randomWeights(gpu, [out, into], "bf16", name);
    const pair = { a: make([r, into], "lora_A"), b: make([out, r], "lora_B") };
    const plain = [oneLinear(weight, null, null)];
    const tuned = [oneLinear(weight, null, { ...pair, scale: 2, dropout: 0, index: 0 })];
    const grads: LinearGrads = {
      weight: null,
      bias: null,
      loraA: gpu.persistent([r, into], "f32", "d.lora_A", "scratch"),
      loraB: gpu.persistent([out, r], "f32", "d.lora_B", "scratch"),
    };
    const h = make([tokens, r], "h");
    const shape = `[${tokens},${into}]→${out}`;
    const flops = 2 * tokens * out * into;
    const low = 2 * tokens * r * (out + into);
    const add = (what: string, count: number, run: Subject["run"], against?: string) =>
      subjects.push({ what: `${what} ${name}`, shape, dtype: "bf16", flops: count, run, against });
    add("linear", flops, (record) => loraLinear(record, x, plain, null));
    add(`LoRA linear r=${r}`, flops + low, (record) => loraLinear(record, x, tuned, null), `linear ${name}`);
    add(
      `h = x·Aᵀ r=${r}`,
      2 * tokens * r * into,
      (record) => matmul(record, x, pair.a, { transB: true }),
      `linear ${name}`,
    );
    const gains = make([2, out], "gains");
    const dora = { magnitude: make([out], "magnitude"), at: [0], gains };
    const dorad = [oneLinear(weight, null, { ...pair, scale: 2, dropout: 0, index: 0, dora })];
    const all = { ...grads, magnitude: gpu.persistent([out], "f32", "d.magnitude", "scratch") };
    add(`DoRA linear r=${r}`, flops + low, (record) => loraLinear(record, x, dorad, null), `linear ${name}`);
    const norms = 2 * out * into * (r + 1);
    add(`DoRA gains r=${r}`, norms, (record) => doraGains(record, dorad[0]), `linear ${name}`);
    add("linear backward", flops, (record) => matmul(record, dy, weight));
    add(
      `LoRA linear backward r=${r}`,
      flops + 2 * low,
      (record) => loraLinearBackward(record, x, dy, tuned, { saved: [h], grads: [grads], dropoutSeed: null }),
      `linear backward ${name}`,
    );
    add(
      `DoRA linear backward r=${r}`,
      2 * flops + 3 * low,
      (record) => loraLinearBackward(record, x, dy, dorad, { saved: [h], grads: [all], dropoutSeed: null }),
      `linear backward ${name}`,
    );
  }
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds));
}
