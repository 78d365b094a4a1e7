import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import type { WeightShard } from "../../kernels/embedding/embedding.ts";
import { headFinish, headGradient, headState, headStatistics } from "../../kernels/head/head-softmax.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";

interface HeadOptions {
  /** rows of the output table */
  vocab: number;
  /** logits are multiplied by this before the softmax: 1 / temperature */
  inverseTemperature?: number;
  labelSmoothing?: number;
}

/** Per row of the head's input: f32 [rows] each. */
export interface HeadRows {
  /** log-probability of the target */
  logp: Tensor;
  /** (1 − ε)·logp + ε·mean of all log-probabilities; equals logp without label smoothing */
  objective: Tensor;
  /** nats */
  entropy: Tensor;
  /** 1 where the target is the most probable token */
  correct: Tensor;
}

/** Returns d loss / d objective for a chunk of rows, given their log-probs. */
export interface HeadGradient {
  /** @returns f32 [rows of the chunk] */
  dObjective(record: Recorder, rows: HeadRows, start: number, count: number): Tensor;
  /** gradients of the output table's shards, accumulated; null if frozen */
  dWeight: readonly WeightShard[] | null;
}

/** Rows whose logits over the whole vocabulary fit the scratch budget: a multiple of 32, or 8, if possible. */
function headChunk({ profile }: GpuContext, vocab: number): number {
  const rows = Math.floor(profile.logitsBytes / (4 * vocab));
  const tile = rows > 32 ? 32 : rows > 8 ? 8 : 1;
  return Math.max(1, Math.min(1024, Math.floor(rows / tile) * tile));
}

/**
 * Log-probs, entropy and, on request, the gradient of the hidden rows. Never holds all logits: processes one chunk of
 * rows at a time against the shards of the vocabulary.
 *
 * @param hidden final-normed rows that have a target `[rows, hidden]` f32
 * @param targets u32 `[rows]`
 * @returns the rows' results and d hidden `[rows, hidden]`, null if no gradient was requested
 */
export function head(
  record: Recorder,
  hidden: Tensor,
  targets: Tensor,
  shards: readonly WeightShard[],
  { vocab, inverseTemperature = 1, labelSmoothing = 0 }: HeadOptions,
  gradient: HeadGradient | null,
): { rows: HeadRows; dHidden: Tensor | null } {
  const [count, width] = hidden.shape;
  const chunk = Math.min(count, headChunk(record.gpu, vocab));
  const out = (label: string) => record.empty([count], "f32", label);
  const rows: HeadRows = {
    logp: out("logp"),
    objective: out("objective"),
    entropy: out("entropy"),
    correct: out("correct"),
  };
  const dHidden = gradient ? record.empty(hidden.shape, "f32", "d.hidden") : null;
  // sized for a whole chunk: the last chunk, and steps of other lengths, reuse them
  const room = shards.map(({ tensor }) => record.empty([chunk, tensor.shape[0]], "f32", "logits", "scratch"));
  for (let start = 0; start < count; start += chunk) {
    const size = Math.min(chunk, count - start);
    record.scope(() => {
      // Copies, not views: a chunk rarely starts at a multiple of the binding alignment.
      const x = slice(record, hidden, start * width, [size, width]);
      const labels = slice(record, targets, start, [size]);
      const state = headState(record, size);
      const logits = shards.map(({ tensor, start: from }, i) => {
        const part = view(room[i], [size, tensor.shape[0]]);
        matmul(record, x, tensor, { transB: true, into: part });
        headStatistics(record, part, labels, state, { start: from, inverseTemperature, first: i === 0 });
        return part;
      });
      const done = headFinish(record, state, { vocab, labelSmoothing });
      for (const name of ["logp", "objective", "entropy", "correct"] as const)
        place(record, done[name], rows[name], start);
      if (!gradient || !dHidden) return;
      const dObjective = gradient.dObjective(record, done, start, size);
      const dx = record.empty([size, width], "f32", "d.hidden.chunk");
      shards.forEach(({ tensor, start: from }, i) => {
        headGradient(record, logits[i], labels, done.lse, dObjective, {
          start: from,
          inverseTemperature,
          vocab,
          labelSmoothing,
        });
        matmul(record, logits[i], tensor, { into: dx, accumulate: i > 0 });
        if (gradient.dWeight)
          matmul(record, logits[i], x, { transA: true, into: gradient.dWeight[i].tensor, accumulate: true });
      });
      place(record, dx, dHidden, start * width);
    });
  }
  record.release(...room);
  return { rows, dHidden };
}

function slice(record: Recorder, tensor: Tensor, start: number, shape: readonly number[]): Tensor {
  const copy = record.empty(shape, tensor.dtype, `${tensor.label}.chunk`);
  record.copy(view(tensor, shape, start), copy);
  return copy;
}

function place(record: Recorder, from: Tensor, to: Tensor, start: number): void {
  record.copy(from, view(to, from.shape, start));
}
