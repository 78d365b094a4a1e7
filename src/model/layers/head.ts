import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import type { WeightShard } from "../../kernels/embedding/embedding.ts";
import {
  type HeadDone,
  type HeadSlopes,
  headFinish,
  headGradient,
  headState,
  headStatistics,
} from "../../kernels/head/head-softmax.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";
import { rowLogitsBackward, type TokenRows, tableLogits, takeRowLogits } from "./tables.ts";

interface HeadOptions {
  /** rows of the output table */
  vocab: number;
  /** logits are multiplied by this before the softmax: 1 / temperature */
  inverseTemperature?: number;
  labelSmoothing?: number;
  /** rows that replace some of the table's; absent or null: none */
  own?: TokenRows | null;
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
  /** mean over the vocabulary of the logits, each times inverseTemperature */
  mean: Tensor;
}

const RESULTS = ["logp", "objective", "entropy", "correct", "mean"] as const satisfies (keyof HeadRows)[];

/**
 * Returns d loss / d objective for a chunk of rows, given their log-probs: f32 [rows of the chunk]; as `HeadSlopes`, d loss /
 * d entropy too.
 */
type ChunkGradient = (record: Recorder, rows: HeadRows, start: number, count: number) => Tensor | HeadSlopes;

/**
 * d loss / d objective, f32. `ofAll` returns it for all rows at once, for a loss in which a row's slope depends on rows of
 * other chunks; with more than one chunk, the logits are then computed twice.
 */
export type RowGradient = ChunkGradient | { ofAll(record: Recorder, rows: HeadRows): Tensor };

interface HeadGradient {
  dObjective: RowGradient;
  /** gradients of the output table's shards, accumulated; null if frozen */
  dWeight: readonly WeightShard[] | null;
}

/** Rows whose logits over the whole vocabulary fit the scratch budget: a multiple of 32, or 8, if possible. */
function headChunk({ profile }: GpuContext, vocab: number): number {
  const rows = Math.floor(profile.logitsBytes / (4 * vocab));
  const tile = rows > 32 ? 32 : rows > 8 ? 8 : 1;
  return Math.max(1, Math.min(1024, Math.floor(rows / tile) * tile));
}

/** How a chunk's logits, and then their gradients, are stored: bf16 is read four at a time. */
function logitsDType({ activations }: GpuContext, columns: number): "f32" | "bf16" {
  return columns % 4 === 0 ? activations : "f32";
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
  { vocab, inverseTemperature = 1, labelSmoothing = 0, own = null }: HeadOptions,
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
    mean: out("mean"),
  };
  const dHidden = gradient ? record.empty(hidden.shape, "f32", "d.hidden") : null;
  // sized for a whole chunk: the last chunk, and steps of other lengths, reuse them
  const room = shards.map(({ tensor: { shape } }) =>
    record.empty([chunk, shape[0]], logitsDType(record.gpu, shape[0]), "logits", "scratch"),
  );
  const options = { inverseTemperature, vocab, labelSmoothing };

  /** Logits of a chunk against every shard. */
  const logitsOf = (x: Tensor) => tableLogits(record, x, { head: shards, own }, room).map(({ tensor }) => tensor);
  /** The way back of a chunk whose logits lie in `room`. */
  const backward = (at: Chunk, logits: readonly Tensor[], done: HeadDone, asked: Tensor | HeadSlopes) => {
    const slopes = "objective" in asked ? asked : { objective: asked, entropy: null };
    const dx = record.empty([at.size, width], "f32", "d.hidden.chunk");
    const columns = own && record.empty([at.size, own.byToken.size], "f32", "d.token.logits");
    shards.forEach(({ tensor, start: from }, i) => {
      headGradient(record, logits[i], at.labels, done, slopes, { start: from, ...options });
      if (own) takeRowLogits(record, { tensor: logits[i], start: from }, own, columns!);
      matmul(record, logits[i], tensor, { into: dx, accumulate: i > 0 });
      if (gradient!.dWeight)
        matmul(record, logits[i], at.x, { transA: true, into: gradient!.dWeight[i].tensor, accumulate: true });
    });
    if (own) rowLogitsBackward(record, own, columns!, { x: at.x, dx });
    place(record, dx, dHidden!, at.start * width);
  };
  const chunks = (body: (at: Chunk) => void) => {
    for (let start = 0; start < count; start += chunk) {
      const size = Math.min(chunk, count - start);
      // Copies, not views: a chunk rarely starts at a multiple of the binding alignment.
      record.scope(() =>
        body({
          start,
          size,
          x: slice(record, hidden, start * width, [size, width]),
          labels: slice(record, targets, start, [size]),
        }),
      );
    }
  };

  const ask = gradient?.dObjective ?? null;
  const ofAll = ask && typeof ask !== "function" ? ask.ofAll : null;
  const twice = ofAll !== null && count > chunk;
  const lse = twice ? out("lse") : null;
  chunks((at) => {
    const state = headState(record, at.size);
    const logits = logitsOf(at.x);
    logits.forEach((part, i) => {
      headStatistics(record, part, at.labels, state, { start: shards[i].start, inverseTemperature, first: i === 0 });
    });
    const done = headFinish(record, state, { vocab, labelSmoothing });
    for (const name of RESULTS) place(record, done[name], rows[name], at.start);
    if (lse) place(record, done.lse, lse, at.start);
    else if (ofAll) backward(at, logits, done, ofAll(record, done));
    else if (typeof ask === "function") backward(at, logits, done, ask(record, done, at.start, at.size));
  });
  if (lse) {
    const dObjective = ofAll!(record, rows);
    chunks((at) => {
      const own = (tensor: Tensor) => slice(record, tensor, at.start, [at.size]);
      backward(at, logitsOf(at.x), { lse: own(lse), entropy: null }, own(dObjective));
    });
    record.release(lse, dObjective);
  }
  record.release(...room);
  return { rows, dHidden };
}

/** A range of rows of the head's input. */
interface Chunk {
  start: number;
  size: number;
  /** `[size, hidden]` */
  x: Tensor;
  /** u32 `[size]` */
  labels: Tensor;
}

function slice(record: Recorder, tensor: Tensor, start: number, shape: readonly number[]): Tensor {
  const copy = record.empty(shape, tensor.dtype, `${tensor.label}.chunk`);
  record.copy(view(tensor, shape, start), copy);
  return copy;
}

function place(record: Recorder, from: Tensor, to: Tensor, start: number): void {
  record.copy(from, view(to, from.shape, start));
}
