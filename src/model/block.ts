import type { Recorder } from "../gpu/recorder.ts";
import { type Tensor, view } from "../gpu/tensor.ts";
import { type AttentionHeads, attention, attentionBackward } from "../kernels/attention.ts";
import {
  type Linear,
  type LinearGrads,
  type LinearSaved,
  loraHidden,
  loraLinear,
  loraLinearBackward,
} from "../kernels/lora-linear.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../kernels/rms-norm.ts";
import { rotary } from "../kernels/rotary.ts";
import { swiglu, swigluBackward } from "../kernels/swiglu.ts";
import type { Projection } from "./names.ts";

/** Weights of one decoder block. */
export interface Block {
  inputNorm: Tensor;
  postNorm: Tensor;
  /** per-head scales [head_dim]: qwen3 only */
  qNorm: Tensor | null;
  kNorm: Tensor | null;
  linears: Record<Projection, Linear>;
}

/** Gradients of one block, views of the mega-buffer; null where frozen. */
export interface BlockGrads {
  inputNorm: Tensor | null;
  postNorm: Tensor | null;
  qNorm: Tensor | null;
  kNorm: Tensor | null;
  linears: Record<Projection, LinearGrads>;
}

/** What all blocks of one pass share. */
export interface Pass {
  heads: AttentionHeads;
  eps: number;
  /** cosines and sines [positions, head_dim] */
  table: Tensor;
  /** u32 [tokens] */
  positions: Tensor;
  /** u32 [tokens, 2] */
  spans: Tensor;
  /** u32 of this pass's dropout masks; null outside training */
  dropoutSeed: number | null;
}

/** The residual stream between blocks: x + delta, not yet added, so that the next norm adds them. */
export interface Stream {
  x: Tensor;
  delta: Tensor | null;
}

/** Kept from the forward pass: the block's input, its attention output and log-sum-exp. The rest is recomputed. */
export interface BlockSaved {
  x: Tensor;
  o: Tensor;
  stats: Tensor;
}

interface AttentionInputs {
  x: Tensor;
  normed: Tensor;
  rstd: Tensor;
  q: Tensor;
  k: Tensor;
  v: Tensor;
  /** q and k as they came from their projections, [tokens * heads, head_dim], with their norms' rstd: qwen3 only */
  raw: { q: Tensor; qRstd: Tensor; k: Tensor; kRstd: Tensor } | null;
  saved: Record<"q_proj" | "k_proj" | "v_proj", LinearSaved>;
}

/** Norm, projections, head norms and rotary of a block: what attention reads. */
export function attentionInputs(record: Recorder, block: Block, pass: Pass, { x, delta }: Stream): AttentionInputs {
  const { head_dim, num_attention_heads, num_key_value_heads } = pass.heads;
  const norm = rmsNorm(record, x, block.inputNorm, pass.eps, delta);
  const project = (name: "q_proj" | "k_proj" | "v_proj") =>
    loraLinear(record, norm.y, block.linears[name], pass.dropoutSeed, name);
  const [q, k, v] = [project("q_proj"), project("k_proj"), project("v_proj")];
  const tokens = norm.y.shape[0];
  let raw: AttentionInputs["raw"] = null;
  let [qUsed, kUsed] = [q.y, k.y];
  if (block.qNorm && block.kNorm) {
    const qHeads = view(q.y, [tokens * num_attention_heads, head_dim]);
    const kHeads = view(k.y, [tokens * num_key_value_heads, head_dim]);
    const qNormed = rmsNorm(record, qHeads, block.qNorm, pass.eps);
    const kNormed = rmsNorm(record, kHeads, block.kNorm, pass.eps);
    raw = { q: qHeads, qRstd: qNormed.rstd, k: kHeads, kRstd: kNormed.rstd };
    [qUsed, kUsed] = [reshape(qNormed.y, q.y.shape), reshape(kNormed.y, k.y.shape)];
  }
  rotary(record, qUsed, kUsed, pass.positions, pass.table, head_dim);
  return {
    x: norm.sum,
    normed: norm.y,
    rstd: norm.rstd,
    q: qUsed,
    k: kUsed,
    v: v.y,
    raw,
    saved: { q_proj: q.saved, k_proj: k.saved, v_proj: v.saved },
  };
}

/** The same memory under another shape; keeps the block, so that scopes still own it. */
function reshape(tensor: Tensor, shape: readonly number[]): Tensor {
  return { ...tensor, shape };
}

/** Output projection, residual, norm, gate and up of a block: what SwiGLU reads. */
export function mlpInputs(record: Recorder, block: Block, pass: Pass, x: Tensor, o: Tensor) {
  const out = loraLinear(record, o, block.linears.o_proj, pass.dropoutSeed, "o_proj");
  const norm = rmsNorm(record, x, block.postNorm, pass.eps, out.y);
  record.release(out.y);
  const gate = loraLinear(record, norm.y, block.linears.gate_proj, pass.dropoutSeed, "gate_proj");
  const up = loraLinear(record, norm.y, block.linears.up_proj, pass.dropoutSeed, "up_proj");
  return { norm, gate, up, saved: { o_proj: out.saved, gate_proj: gate.saved, up_proj: up.saved } };
}

/**
 * One decoder block on a packed batch.
 *
 * @param stream residual stream [tokens, hidden], as the block before left it
 * @param onKeysAndValues sees the rotated keys and the values, to put them into a cache
 * @returns the stream after the block, and what the backward pass needs
 */
export function blockForward(
  record: Recorder,
  block: Block,
  pass: Pass,
  stream: Stream,
  onKeysAndValues?: (k: Tensor, v: Tensor) => void,
): { stream: Stream; saved: BlockSaved } {
  return record.scope(() => {
    const inputs = attentionInputs(record, block, pass, stream);
    onKeysAndValues?.(inputs.k, inputs.v);
    const { o, stats } = attention(record, inputs.q, inputs.k, inputs.v, pass.spans, pass.heads);
    record.release(inputs.q, inputs.k, inputs.v, inputs.normed);
    const mlp = mlpInputs(record, block, pass, inputs.x, o);
    const activated = swiglu(record, mlp.gate.y, mlp.up.y);
    record.release(mlp.gate.y, mlp.up.y, mlp.norm.y);
    const down = loraLinear(record, activated, block.linears.down_proj, pass.dropoutSeed, "down_proj");
    return { stream: { x: mlp.norm.sum, delta: down.y }, saved: { x: inputs.x, o, stats } };
  });
}

/**
 * Backward pass of one block: recomputes what was not kept, adds the parameters' gradients, and turns `g` from the
 * gradient of the block's output into that of its input, in place.
 *
 * @param g [tokens, hidden] f32
 * @param needsInput false for the first block of a model whose embeddings are frozen: `g` is then left unfinished
 */
export function blockBackward(
  record: Recorder,
  block: Block,
  grads: BlockGrads,
  pass: Pass,
  saved: BlockSaved,
  g: Tensor,
  needsInput: boolean,
): void {
  const seed = pass.dropoutSeed;
  const { linears } = block;
  record.scope(() => {
    const inputs = attentionInputs(record, block, pass, { x: saved.x, delta: null });
    const mlp = mlpInputs(record, block, pass, saved.x, saved.o);
    record.scope(() => {
      const activated = swiglu(record, mlp.gate.y, mlp.up.y);
      const hidden = loraHidden(record, activated, linears.down_proj, seed);
      const dActivated = loraLinearBackward(
        record,
        activated,
        g,
        linears.down_proj,
        hidden,
        grads.linears.down_proj,
        seed,
      )!;
      swigluBackward(record, mlp.gate.y, mlp.up.y, dActivated);
    });
    const [dGate, dUp] = [mlp.gate.y, mlp.up.y]; // swigluBackward leaves the gradients there
    const dNormed = loraLinearBackward(
      record,
      mlp.norm.y,
      dGate,
      linears.gate_proj,
      mlp.saved.gate_proj,
      grads.linears.gate_proj,
      seed,
    )!;
    loraLinearBackward(
      record,
      mlp.norm.y,
      dUp,
      linears.up_proj,
      mlp.saved.up_proj,
      grads.linears.up_proj,
      seed,
      dNormed,
    );
    record.release(dGate, dUp, mlp.norm.y);
    normBackward(record, mlp.norm.sum, block.postNorm, mlp.norm.rstd, dNormed, grads.postNorm, g);
    record.release(dNormed, mlp.norm.sum);

    const dO = loraLinearBackward(record, saved.o, g, linears.o_proj, mlp.saved.o_proj, grads.linears.o_proj, seed)!;
    const d = attentionBackward(record, inputs.q, inputs.k, inputs.v, pass.spans, saved.o, dO, saved.stats, pass.heads);
    record.release(dO, inputs.v);
    rotary(record, d.dq, d.dk, pass.positions, pass.table, pass.heads.head_dim, true);
    const [dq, dk] = inputs.raw ? headNormsBackward(record, block, grads, inputs.raw, d.dq, d.dk) : [d.dq, d.dk];
    const parts = [["q_proj", dq], ["k_proj", dk], ["v_proj", d.dv]] as const; // biome-ignore format: a row a projection
    let dx: Tensor | null = null;
    for (const [name, dy] of parts) {
      dx = loraLinearBackward(
        record,
        inputs.normed,
        dy,
        linears[name],
        inputs.saved[name],
        grads.linears[name],
        seed,
        dx,
        needsInput || grads.inputNorm !== null,
      );
    }
    if (dx) normBackward(record, saved.x, block.inputNorm, inputs.rstd, dx, grads.inputNorm, g);
  });
}

function normBackward(
  record: Recorder,
  x: Tensor,
  weight: Tensor,
  rstd: Tensor,
  dy: Tensor,
  dweight: Tensor | null,
  g: Tensor,
): void {
  if (dweight) rmsNormWeightBackward(record, x, rstd, dy, dweight);
  rmsNormBackward(record, x, weight, rstd, dy, g);
}

function headNormsBackward(
  record: Recorder,
  block: Block,
  grads: BlockGrads,
  raw: NonNullable<AttentionInputs["raw"]>,
  dq: Tensor,
  dk: Tensor,
): [Tensor, Tensor] {
  const one = (x: Tensor, weight: Tensor, rstd: Tensor, dy: Tensor, dweight: Tensor | null) => {
    const rows = reshape(dy, x.shape);
    if (dweight) rmsNormWeightBackward(record, x, rstd, rows, dweight);
    return reshape(rmsNormBackward(record, x, weight, rstd, rows), dy.shape);
  };
  return [one(raw.q, block.qNorm!, raw.qRstd, dq, grads.qNorm), one(raw.k, block.kNorm!, raw.kRstd, dk, grads.kNorm)];
}
