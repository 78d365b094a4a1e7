import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { type AttentionHeads, attention, attentionBackward } from "../../kernels/attention/attention.ts";
import { type Linear, type LinearGrads, widthOf } from "../../kernels/matmul/linear.ts";
import { type Hidden, type LinearEpilogue, loraLinear, takesEpilogue } from "../../kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../../kernels/matmul/lora-linear-backward.ts";
import { swiglu, swigluBackward } from "../../kernels/mlp/swiglu.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";
import { rotary } from "../../kernels/rotary/rotary.ts";
import type { Group } from "../names.ts";

/** Weights of one decoder block. */
export interface Block {
  inputNorm: Tensor;
  postNorm: Tensor;
  /** per-head scales [head_dim]: qwen3 only */
  qNorm: Tensor | null;
  kNorm: Tensor | null;
  /** one a group, or where a binding cannot hold it one a projection */
  linears: Record<Group, readonly Linear[]>;
}

/** Gradients of one block, views of the mega-buffer; null where frozen. */
export interface BlockGrads {
  inputNorm: Tensor | null;
  postNorm: Tensor | null;
  qNorm: Tensor | null;
  kNorm: Tensor | null;
  linears: Record<Group, readonly LinearGrads[]>;
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

/** Kept from the forward pass: the block's input, its attention output, log-sum-exp and low-rank inputs. The rest is recomputed. */
export interface BlockSaved {
  x: Tensor;
  o: Tensor;
  stats: Tensor;
  qkv: readonly Hidden[];
  out: readonly Hidden[];
  /** for each range of rows that the MLP took at a time */
  mlp: readonly { gateUp: readonly Hidden[]; down: readonly Hidden[] }[];
  /** what would be recomputed, where that is not wanted */
  kept: Activations | null;
}

/** What the backward pass of a block reads beside its input and attention's results. */
interface Activations {
  input: { y: Tensor; rstd: Tensor };
  qkv: Tensor;
  raw: RawHeads | null;
  norm: { y: Tensor; sum: Tensor; rstd: Tensor };
  /** gate and up of each range of rows */
  gateUps: readonly Tensor[];
}

/** Gives back what a block kept. */
export function releaseSaved(record: Recorder, { x, o, stats, qkv, out, mlp, kept }: BlockSaved): void {
  record.release(x, o, stats, ...qkv, ...out, ...mlp.flatMap(({ gateUp, down }) => [...gateUp, ...down]));
  if (!kept) return;
  const { input, norm, raw, gateUps } = kept;
  record.release(input.y, input.rstd, kept.qkv, ...Object.values(raw ?? {}), norm.y, norm.sum, norm.rstd, ...gateUps);
}

/** Rows whose gate and up fit a binding: all of them, or as many at a time as do, in multiples that views can begin at. */
function mlpRanges(record: Recorder, { linears }: Block, rows: number): { start: number; count: number }[] {
  const width = linears.gate_up.reduce((sum, layer) => sum + widthOf(layer), 0);
  const most = Math.floor(record.gpu.limits.maxStorageBufferBindingSize / (4 * width));
  const step = rows <= most ? rows : Math.max(64, Math.floor(most / 64) * 64);
  const ranges = [];
  for (let start = 0; start < rows; start += step) ranges.push({ start, count: Math.min(step, rows - start) });
  return ranges;
}

/** Some rows of a tensor: itself where they are all. */
function rowsOf(tensor: Tensor, { start, count }: { start: number; count: number }): Tensor {
  const [rows, ...shape] = tensor.shape;
  return count === rows ? tensor : view(tensor, [count, ...shape], start * sizeOf(shape));
}

/** Each range of rows drops others. */
function seedOf(seed: number | null, { start }: { start: number }): number | null {
  return seed === null ? null : (seed + start) >>> 0;
}

/** q and k before their heads were normed, and the norms' rstd: qwen3 only. */
interface RawHeads {
  qkv: Tensor;
  qRstd: Tensor;
  kRstd: Tensor;
}

/** Which heads of a row of q, k and v are the queries', and which the keys'. */
function headRows({ num_attention_heads: h, num_key_value_heads: g }: AttentionHeads) {
  const per = h + 2 * g;
  return { q: { per, first: 0, take: h }, k: { per, first: h, take: g } };
}

/**
 * Queries, keys and values of normed rows, heads normed where the model does so, queries and keys rotated.
 *
 * @param given low-rank inputs where they are known
 * @returns qkv `[tokens, (heads + 2·kvHeads)·head_dim]`
 */
export function projectQkv(
  record: Recorder,
  { linears, qNorm, kNorm }: Block,
  { heads, eps, table, positions, dropoutSeed }: Pass,
  normed: Tensor,
  given: readonly Hidden[] | null = null,
): { qkv: Tensor; raw: RawHeads | null; saved: readonly Hidden[] } {
  const { head_dim, num_attention_heads, num_key_value_heads } = heads;
  const fused = !qNorm && linears.qkv.length === 1 && takesEpilogue(linears.qkv[0], "rotary");
  const epilogue: LinearEpilogue | null = fused ? { kind: "rotary", positions, table, headDim: head_dim } : null;
  const { y: qkv, saved } = loraLinear(record, normed, linears.qkv, dropoutSeed, { label: "qkv", given, epilogue });
  let raw: RawHeads | null = null;
  if (qNorm && kNorm) {
    const before = record.empty(qkv.shape, "f32", "qkv.raw");
    record.copy(qkv, before);
    const { q, k } = headRows(heads);
    const { rstd: qRstd } = rmsNorm(record, before, qNorm, eps, null, { rows: q, into: qkv });
    const { rstd: kRstd } = rmsNorm(record, before, kNorm, eps, null, { rows: k, into: qkv });
    raw = { qkv: before, qRstd, kRstd };
  }
  if (!fused)
    rotary(record, qkv, { positions, table }, { headDim: head_dim, heads: num_attention_heads + num_key_value_heads });
  return { qkv, raw, saved };
}

/**
 * What the MLP's last layer reads, of normed rows: `silu(gate)·up`.
 *
 * @param keep gate and up are wanted too
 * @returns `[tokens, intermediate]`
 */
export function activate(
  record: Recorder,
  { linears }: Block,
  dropoutSeed: number | null,
  normed: Tensor,
  given: readonly Hidden[] | null = null,
  keep = false,
): { activated: Tensor; gateUp: Tensor | null; saved: readonly Hidden[] } {
  const [first, ...others] = linears.gate_up;
  const fused = !keep && others.length === 0 && takesEpilogue(first, "swiglu");
  const epilogue = fused ? ({ kind: "swiglu" } as const) : null;
  const { y, saved } = loraLinear(record, normed, linears.gate_up, dropoutSeed, { label: "gate_up", given, epilogue });
  if (fused) return { activated: y, gateUp: null, saved };
  const activated = swiglu(record, y);
  if (keep) return { activated, gateUp: y, saved };
  record.release(y);
  return { activated, gateUp: null, saved };
}

/**
 * One decoder block on a packed batch.
 *
 * @param stream residual stream [tokens, hidden], as the block before left it
 * @param onKeysAndValues sees queries, rotated keys and values, to put them into a cache
 * @param keep all that the backward pass reads, rather than recompute it; the stream's `x` is then part of it
 * @returns the stream after the block, and what the backward pass needs
 */
export function blockForward(
  record: Recorder,
  block: Block,
  pass: Pass,
  stream: Stream,
  onKeysAndValues?: (qkv: Tensor) => void,
  keep = false,
): { stream: Stream; saved: BlockSaved } {
  const { linears } = block;
  return record.scope(() => {
    const input = rmsNorm(record, stream.x, block.inputNorm, pass.eps, stream.delta);
    const { qkv, raw, saved: qkvHidden } = projectQkv(record, block, pass, input.y);
    if (!keep) record.release(input.y, input.rstd, ...Object.values(raw ?? {}));
    onKeysAndValues?.(qkv);
    const { o, stats } = attention(record, qkv, pass.spans, pass.heads);
    if (!keep) record.release(qkv);
    const out = loraLinear(record, o, linears.o, pass.dropoutSeed, { label: "o_proj" });
    const norm = rmsNorm(record, input.sum, block.postNorm, pass.eps, out.y);
    record.release(out.y);
    if (!keep) record.release(norm.rstd);
    const delta = record.empty(norm.y.shape, "f32", "down_proj");
    const gateUps: Tensor[] = [];
    const mlp = mlpRanges(record, block, delta.shape[0]).map((range) => {
      const seed = seedOf(pass.dropoutSeed, range);
      const made = activate(record, block, seed, rowsOf(norm.y, range), null, keep);
      const { activated, saved: gateUp } = made;
      if (made.gateUp) gateUps.push(made.gateUp);
      const { saved: down } = loraLinear(record, activated, linears.down, seed, { into: rowsOf(delta, range) });
      record.release(activated);
      return { gateUp, down };
    });
    if (!keep) record.release(norm.y);
    const kept = keep ? { input: { y: input.y, rstd: input.rstd }, qkv, raw, norm, gateUps } : null;
    const saved = { x: input.sum, o, stats, qkv: qkvHidden, out: out.saved, mlp, kept };
    return { stream: { x: norm.sum, delta }, saved };
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
  const { linears } = block;
  const { dropoutSeed } = pass;
  record.scope(() => {
    const { input, qkv, raw, norm, gateUps } = saved.kept ?? recompute(record, block, pass, saved);
    mlpRanges(record, block, g.shape[0]).forEach((range, i) => {
      const rows = { y: rowsOf(norm.y, range), sum: rowsOf(norm.sum, range), rstd: rowsOf(norm.rstd, range) };
      mlpBackward(record, block, grads, seedOf(dropoutSeed, range), rows, saved.mlp[i], rowsOf(g, range), gateUps[i]);
    });
    if (!saved.kept) record.release(norm.y, norm.sum);

    const dO = loraLinearBackward(record, saved.o, g, linears.o, {
      saved: saved.out,
      grads: grads.linears.o,
      dropoutSeed,
    })!;
    const { spans, heads, positions, table } = pass;
    const dqkv = attentionBackward(record, { qkv, spans, o: saved.o, dout: dO, stats: saved.stats }, heads, {
      rotary: { positions, table },
    });
    record.release(dO);
    if (!saved.kept) record.release(qkv);
    if (raw) headNormsBackward(record, block, grads, heads, raw, dqkv);
    const dx = loraLinearBackward(record, input.y, dqkv, linears.qkv, {
      saved: saved.qkv,
      grads: grads.linears.qkv,
      dropoutSeed,
      needsInput: needsInput || grads.inputNorm !== null,
    });
    if (dx) normBackward(record, saved.x, block.inputNorm, input.rstd, dx, grads.inputNorm, g);
  });
}

/** What the forward pass did not keep. Gate and up are computed where they are needed. */
function recompute(record: Recorder, block: Block, pass: Pass, saved: BlockSaved): Activations {
  const input = rmsNorm(record, saved.x, block.inputNorm, pass.eps);
  const { qkv, raw } = projectQkv(record, block, pass, input.y, saved.qkv);
  const options = { label: "o_proj", given: saved.out };
  const { y: out } = loraLinear(record, saved.o, block.linears.o, pass.dropoutSeed, options);
  const norm = rmsNorm(record, saved.x, block.postNorm, pass.eps, out);
  record.release(out);
  return { input, qkv, raw, norm, gateUps: [] };
}

/** The MLP and its norm, for some rows: turns `g` from the gradient of their output into that of their input. */
function mlpBackward(
  record: Recorder,
  { linears, postNorm }: Block,
  grads: BlockGrads,
  dropoutSeed: number | null,
  norm: { y: Tensor; sum: Tensor; rstd: Tensor },
  saved: BlockSaved["mlp"][number],
  g: Tensor,
  kept?: Tensor,
): void {
  record.scope(() => {
    const options = { label: "gate_up", given: saved.gateUp };
    const gateUp = kept ?? loraLinear(record, norm.y, linears.gate_up, dropoutSeed, options).y;
    // what SwiGLU gave comes back with its own gradient
    const activated = (dActivated: Tensor) => {
      swigluBackward(record, gateUp, dActivated);
      return dActivated;
    };
    const { down, gate_up } = grads.linears;
    const back = { saved: saved.down, grads: down, dropoutSeed };
    record.release(loraLinearBackward(record, activated, g, linears.down, back));
    const dy = loraLinearBackward(record, norm.y, gateUp, linears.gate_up, {
      saved: saved.gateUp,
      grads: gate_up,
      dropoutSeed,
    })!;
    normBackward(record, norm.sum, postNorm, norm.rstd, dy, grads.postNorm, g);
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
  rmsNormBackward(record, x, weight, rstd, dy, { into: g });
}

/** Turns the gradients of normed query and key heads into those of the raw ones, in place. */
function headNormsBackward(
  record: Recorder,
  { qNorm, kNorm }: Block,
  grads: BlockGrads,
  heads: AttentionHeads,
  { qkv, qRstd, kRstd }: RawHeads,
  dqkv: Tensor,
): void {
  const { q, k } = headRows(heads);
  if (grads.qNorm) rmsNormWeightBackward(record, qkv, qRstd, dqkv, grads.qNorm, q);
  if (grads.kNorm) rmsNormWeightBackward(record, qkv, kRstd, dqkv, grads.kNorm, k);
  rmsNormBackward(record, qkv, qNorm!, qRstd, dqkv, { heads: q });
  rmsNormBackward(record, qkv, kNorm!, kRstd, dqkv, { heads: k });
}
