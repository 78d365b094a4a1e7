import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import type { Linear } from "../../kernels/matmul/linear.ts";
import { loraHidden } from "../../kernels/matmul/lora-linear.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";
import { rmsNormLora } from "../../kernels/norm/rms-norm-lora.ts";
import type { Body, BodyCache, Pass, StepRows, Trace } from "./body.ts";
import { keepOnly, keep as keepTensor, restore } from "./kept.ts";
import { addAndNorm, frozenNorm, type Norm, type Normed, normBackward } from "./norm.ts";

/** A residual branch: `x + post(body(pre(x)))`. */
export interface Sublayer {
  pre: Norm | null;
  post: Norm | null;
  body: Body;
}

/** A decoder block: residual branches, one after the other. */
export type Block = readonly Sublayer[];

/** The caches of a block's bodies, in order. */
export type BlockCache = readonly (BodyCache | null)[];

/** The residual stream between blocks: x + delta. The next norm adds them. */
export interface Stream {
  x: Tensor;
  delta: Tensor | null;
}

/** Data of a branch for the backward pass. */
interface Branch {
  /** one for each range of rows that the body processed */
  traces: readonly Omit<Trace, "y">[];
  /** kept if it must not be recomputed */
  kept: { input: Normed; output: NormedOutput | null } | null;
}

/** A body's output and the rstd of the norm after it. */
interface NormedOutput {
  raw: Tensor;
  rstd: Tensor;
}

/**
 * Kept from the forward pass: the block's input and the tensors that its bodies request, each as `keep` of kept.ts stores it. The
 * rest is recomputed.
 */
export interface BlockSaved {
  x: Tensor;
  branches: readonly Branch[];
}

interface Range {
  start: number;
  count: number;
}

/** The tensors that a block kept, in a fixed order; some may be there twice. */
export function keptBy({ x, branches }: BlockSaved): (Tensor | null)[] {
  const all = branches.flatMap(({ traces, kept }) => [
    ...traces.flatMap((trace) => trace.kept),
    ...(kept
      ? [kept.input.y, kept.input.sum, kept.input.rstd, kept.output?.raw ?? null, kept.output?.rstd ?? null]
      : []),
  ]);
  return [x, ...all];
}

/** Rows per call of a body: all, or as many as fit a binding with its widest array, in multiples that align views. */
function rangesOf(record: Recorder, { width }: Body, rows: number): Range[] {
  if (width === null) return [{ start: 0, count: rows }];
  const most = Math.floor(record.gpu.limits.maxStorageBufferBindingSize / (4 * width));
  const step = rows <= most ? rows : Math.max(64, Math.floor(most / 64) * 64);
  const ranges = [];
  for (let start = 0; start < rows; start += step) ranges.push({ start, count: Math.min(step, rows - start) });
  return ranges;
}

/** A range of a tensor's rows; the tensor itself for all rows. */
function rowsOf(tensor: Tensor, { start, count }: Range): Tensor {
  const [rows, ...shape] = tensor.shape;
  return count === rows ? tensor : view(tensor, [count, ...shape], start * sizeOf(shape));
}

/** The same pass for a range of rows, with the dropout masks that they have in the whole batch. */
function passOf(pass: Pass, { start }: Range): Pass {
  const { dropoutSeed: of } = pass;
  if (of === null || start === 0) return pass;
  const { seed, row } = typeof of === "number" ? { seed: of, row: 0 } : of;
  return { ...pass, dropoutSeed: { seed, row: row + start } };
}

/**
 * One decoder block on a packed batch.
 *
 * @param stream residual stream [tokens, hidden] from the previous block
 * @param caches to fill with the rows in `pass.prefill`; null: none
 * @param keep keep everything that the backward pass reads, including the stream's `x`, instead of recomputing it
 * @returns the stream after the block, and the data for the backward pass
 */
export function forward(
  record: Recorder,
  block: Block,
  pass: Pass,
  stream: Stream,
  { caches = null, keep = false }: { caches?: BlockCache | null; keep?: boolean } = {},
): { stream: Stream; saved: BlockSaved } {
  return record.scope(() => {
    let { x, delta } = stream;
    const branches: Branch[] = [];
    const copies = keepsCopies(record, pass);
    const keeps = (tensor: Tensor) => (copies ? keepTensor(record, tensor) : tensor);
    let first = x;
    block.forEach((branch, i) => {
      const input = addAndNorm(record, branch.pre, pass.eps, x, delta);
      const { rstd } = input;
      const sum = keep || i === 0 ? keeps(input.sum) : input.sum;
      const held = keep ? { sum, y: input.y === input.sum ? sum : keeps(input.y), rstd } : null;
      if (i === 0) first = sum;
      else {
        record.release(delta);
        if (x !== first && (copies || !keep)) record.release(x);
      }
      if (!keep) record.release(rstd);
      const options = { cache: caches?.[i] ?? null, keep, free: copies || !keep };
      const { traces, y } = runBody(record, branch, pass, input, options);
      const output = branch.post && rmsNorm(record, y, branch.post, pass.eps);
      if (output && !keep) record.release(y, output.rstd);
      const raw = output && keep ? (copies ? keepOnly(record, y) : y) : null;
      branches.push({ traces, kept: held && { input: held, output: output && { raw: raw!, rstd: output.rstd } } });
      x = input.sum;
      delta = output?.y ?? y;
    });
    return { stream: { x, delta }, saved: { x: first, branches } };
  });
}

/** Whether what a pass keeps is not what it goes on with. */
function keepsCopies({ gpu }: Recorder, { saves }: Pass): boolean {
  return saves && gpu.activations === "bf16";
}

/** Runs the body of a branch, over as many rows per call as fit. @param options.free release the input after its last use */
function runBody(
  record: Recorder,
  { body }: Sublayer,
  pass: Pass,
  input: Normed,
  { cache, keep, free: frees }: { cache: BodyCache | null; keep: boolean; free: boolean },
): { traces: Omit<Trace, "y">[]; y: Tensor } {
  const ranges = rangesOf(record, body, input.y.shape[0]);
  const free = () => {
    if (frees && input.y !== input.sum) record.release(input.y);
  };
  if (body.width === null) {
    // y is not kept: it continues in the stream
    const { y, ...trace } = body.forward(record, pass, input.y, { keep, cache, onRead: free });
    return { traces: [trace], y };
  }
  const y = record.empty(input.y.shape, "f32", "branch");
  const traces = ranges.map((range) => {
    const options = { keep, into: rowsOf(y, range) };
    const { y: _, ...trace } = body.forward(record, passOf(pass, range), rowsOf(input.y, range), options);
    return trace;
  });
  free();
  return { traces, y };
}

/**
 * Backward pass of one block: recomputes tensors that were not kept, adds the parameters' gradients, and turns `g` from
 * the gradient of the block's output into the gradient of its input, in place.
 *
 * @param g [tokens, hidden] f32
 * @param needsInput false for the first block if the embeddings are frozen: `g` is then incomplete
 */
export function backward(
  record: Recorder,
  block: Block,
  pass: Pass,
  saved: BlockSaved,
  g: Tensor,
  needsInput: boolean,
): void {
  record.scope(() => {
    const replay = new Replay(record, block, pass, saved);
    for (let i = block.length - 1; i >= 0; i--) {
      record.scope(() => {
        const { pre, post, body } = block[i];
        const input = replay.input(i);
        const needs = i > 0 || needsInput || pre?.grad != null || pre?.bias?.grad != null;
        const dy = post ? postBackward(record, post, replay.output(i), g) : g;
        const ranges = rangesOf(record, body, g.shape[0]);
        ranges.forEach((range, r) => {
          const { y, sum, rstd } = input;
          const part = { y: rowsOf(y, range), sum: rowsOf(sum, range), rstd: rstd && rowsOf(rstd, range) };
          record.scope(() => {
            const dx = saved.branches[i].traces[r].backward(part.y, rowsOf(dy, range), needs);
            if (dx) normBackward(record, pre, part, dx, rowsOf(g, range));
          });
        });
        replay.done(i);
      });
    }
  });
}

function postBackward(record: Recorder, post: Norm, { raw, rstd }: NormedOutput, g: Tensor): Tensor {
  if (post.grad) rmsNormWeightBackward(record, raw, rstd, g, post.grad);
  return rmsNormBackward(record, raw, post, rstd, g);
}

/** Inputs and outputs of a block's bodies, kept or recomputed: each branch's input needs the outputs before it. */
class Replay {
  private readonly record: Recorder;
  private readonly block: Block;
  private readonly pass: Pass;
  private readonly saved: BlockSaved;
  private readonly inputs: (Normed | null)[];
  private readonly outputs: (NormedOutput | null)[];
  /** the stream before each branch */
  private readonly sums: Tensor[];

  constructor(record: Recorder, block: Block, pass: Pass, saved: BlockSaved) {
    this.record = record;
    this.block = block;
    this.pass = pass;
    this.saved = saved;
    this.inputs = saved.branches.map(() => null);
    this.outputs = saved.branches.map(() => null);
    this.sums = [];
    if (saved.branches[0].kept) return;
    this.sums.push(restore(record, saved.x));
    block.forEach(({ post }, i) => {
      const last = i === block.length - 1;
      if (last && !post) return;
      const raw = this.again(i);
      const normed = post && rmsNorm(record, raw, post, pass.eps);
      if (normed) this.outputs[i] = { raw, rstd: normed.rstd };
      const delta = normed?.y ?? raw;
      if (!last) {
        const next = addAndNorm(record, block[i + 1].pre, pass.eps, this.sums[i], delta);
        this.inputs[i + 1] = next;
        this.sums.push(next.sum);
      }
      record.release(delta);
    });
  }

  /** The input of a branch, normed again if it was not kept. */
  input(i: number): Normed {
    const { record, block, pass, sums, saved } = this;
    const kept = saved.branches[i].kept?.input;
    if (kept) {
      const sum = restore(record, kept.sum);
      return { sum, y: kept.y === kept.sum ? sum : restore(record, kept.y), rstd: kept.rstd };
    }
    return (this.inputs[i] ??= addAndNorm(record, block[i].pre, pass.eps, sums[i], null));
  }

  output(i: number): NormedOutput {
    const kept = this.saved.branches[i].kept?.output;
    return kept ? { raw: restore(this.record, kept.raw), rstd: kept.rstd } : this.outputs[i]!;
  }

  /** Releases the recomputed tensors of a branch. */
  done(i: number): void {
    if (this.saved.branches[i].kept) return;
    const { y, rstd, sum } = this.inputs[i]!;
    const { raw = null, rstd: outRstd = null } = this.outputs[i] ?? {};
    this.record.release(rstd, raw, outRstd, y === sum ? null : y, i > 0 ? sum : null);
    this.inputs[i] = null;
  }

  private again(i: number): Tensor {
    const { record, saved, block } = this;
    const { traces } = saved.branches[i];
    const { body } = block[i];
    if (traces.length === 1) return traces[0].again(() => this.input(i).y);
    const { y } = this.input(i);
    const whole = record.empty(y.shape, "f32", "branch");
    rangesOf(record, body, y.shape[0]).forEach((range, r) => {
      const part = traces[r].again(() => rowsOf(y, range));
      record.copy(part, rowsOf(whole, range));
      record.release(part);
    });
    return whole;
  }
}

/**
 * Decodes one token per row through a block.
 *
 * @returns the stream after it
 */
export function blockStep(
  record: Recorder,
  block: Block,
  pass: Pass,
  stream: Stream,
  rows: StepRows,
  caches: BlockCache,
): Stream {
  return record.scope(() => {
    let { x, delta } = stream;
    block.forEach(({ pre, post, body }, i) => {
      const { y, sum, h } = pre
        ? rmsNormLora(record, x, pre, pass.eps, delta, body.first)
        : plainInput(record, x, delta, body.first);
      const out = body.step(record, pass, y, h, rows, caches[i]);
      x = sum;
      delta = post ? rmsNorm(record, out, post, pass.eps).y : out;
    });
    return { x, delta };
  });
}

function plainInput(record: Recorder, x: Tensor, delta: Tensor | null, layers: Body["first"]) {
  const { sum } = addAndNorm(record, null, 0, x, delta);
  return { y: sum, sum, h: layers.map((layer) => loraHidden(record, sum, layer, null)) };
}

/** The same block with other layers, all frozen. */
export function frozenBlock(block: Block, change: (linear: Linear) => Linear): Block {
  const still = (norm: Norm | null) => norm && frozenNorm(norm);
  return block.map(({ pre, post, body }) => ({ pre: still(pre), post: still(post), body: body.frozen(change) }));
}
