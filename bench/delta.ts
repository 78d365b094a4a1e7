import type { Gpu } from "../src/gpu/device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";
import { view } from "../src/gpu/tensor.ts";
import { spansOf } from "../src/kernels/attention/attention.ts";
import { deltaConv, deltaConvBackward } from "../src/kernels/delta/conv.ts";
import { deltaGates } from "../src/kernels/delta/gates.ts";
import { deltaWidth } from "../src/kernels/delta/heads.ts";
import { deltaL2Norm } from "../src/kernels/delta/l2-norm.ts";
import { chunkTable, deltaRule, deltaRuleBackward } from "../src/kernels/delta/rule.ts";
import { deltaStep } from "../src/kernels/delta/step.ts";
import { gatedRmsNorm } from "../src/kernels/norm/gated-rms-norm.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";

/** Heads of Qwen3.5-0.8B's delta nets. */
const HEADS = { num_key_heads: 16, num_value_heads: 16, key_head_dim: 128, value_head_dim: 128 };
const CHUNK = 64;

/** The parts of a delta net over one sequence of each length, and the step of one token for 8 rows. */
function deltaSubjects(gpu: Gpu, lengths: readonly number[]): Subject[] {
  const { num_value_heads: heads, key_head_dim: dk, value_head_dim: dv } = HEADS;
  const width = deltaWidth(HEADS);
  const stride = width + heads * dv + 2 * heads;
  const make = (shape: readonly number[], label: string) => randomTensor(gpu, shape, "f32", label);
  const conv = make([width, 1, 4], "conv");
  const rates = { rate: make([heads], "A_log"), bias: make([heads], "dt_bias") };
  const norm = make([dv], "norm");
  const subjects: Subject[] = [];
  const add = (what: string, shape: string, flops: number | null, run: Subject["run"], against?: string) =>
    subjects.push({ what, shape, dtype: "f32", flops, run, ...(against && { against }) });
  for (const tokens of lengths) {
    const shape = `[${tokens},${heads}×${dk}×${dv}]`;
    const { words, ...chunks } = chunkTable([0, tokens]);
    const table = view(gpu.upload(words, [words.length], "u32", "table", "scratch"), [words.length / 4, 4]);
    const spans = gpu.upload(spansOf([0, tokens]), [tokens, 2], "u32", "spans", "scratch");
    const [made, u, o] = [make([tokens, stride], "made"), make([tokens, width], "u"), make([tokens, heads * dv], "o")];
    const gates = make([tokens, heads, 2], "gates");
    const dout = make([tokens, heads * dv], "dout");
    const input = { u, gates, chunks: { ...chunks, table } };
    // of each token: K S, Q S, the update of S, and 64 rows of T and P
    const forward = 2 * tokens * heads * (3 * dk * dv + CHUNK * (dk + dv));
    add(`delta rule ${tokens}`, shape, forward, (r) => void deltaRule(r, input, HEADS));
    const back = (r: Recorder) => {
      const { kept } = deltaRule(r, input, HEADS, { keep: true });
      const du = r.empty(u.shape, "f32", "du");
      deltaRuleBackward(r, input, kept, { dout, du }, HEADS);
    };
    add(`delta rule there and back ${tokens}`, shape, 3.5 * forward, back, `delta rule ${tokens}`);
    const other = (r: Recorder) => {
      const mixed = deltaConv(r, made, spans, conv);
      deltaL2Norm(r, mixed, HEADS);
      deltaGates(r, made, width + heads * dv, rates);
      gatedRmsNorm(r, o, { gate: made, first: width }, norm, 1e-6);
    };
    add(`delta convolution, norms, gates ${tokens}`, shape, null, other, `delta rule ${tokens}`);
    const convolve = (r: Recorder) =>
      deltaConvBackward(r, { x: made, spans, weight: conv }, u, { dx: made, dweight: null });
    add(`delta convolution backward ${tokens}`, shape, null, convolve, `delta rule ${tokens}`);
  }
  const rows = 8;
  const step = { u: make([rows, width], "step"), gates: make([rows, heads, 2], "step.gates") };
  const states = make([rows, heads, dk, dv], "states");
  const places = (label: string) =>
    gpu.upload(
      Uint32Array.from({ length: rows }, (_, r) => r),
      [rows],
      "u32",
      label,
      "scratch",
    );
  const at = { slots: places("slots"), positions: places("positions") };
  const flops = 8 * rows * heads * dk * dv;
  add("delta step", `[${rows},${heads}×${dk}×${dv}]`, flops, (r) => void deltaStep(r, step, HEADS, at, states));
  return subjects;
}

/** A delta net's kernels beside the matmuls at the model's shapes. */
export async function benchDelta(gpu: Gpu, lengths: readonly number[], rounds: number): Promise<BenchRow[]> {
  const subjects = [...deltaSubjects(gpu, lengths), ...yardsticks(gpu, 256)];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds));
}
