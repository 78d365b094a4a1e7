import { deltaChunk } from "../../../shaders/delta/chunk.wgsl.ts";
import { deltaChunkBackward, deltaScores } from "../../../shaders/delta/chunk-backward.wgsl.ts";
import { CHUNK, NONE, SOLVED } from "../../../shaders/delta/rule.ts";
import { deltaScan, deltaScanBackward } from "../../../shaders/delta/scan.wgsl.ts";
import { MemoryError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape } from "../grid.ts";
import { type DeltaHeads, deltaVariant, deltaWidth } from "./heads.ts";

/** The chunks of a packed batch, as the kernels read them. */
export interface DeltaChunks {
  /** u32 `[chunks + sequences, 4]`: see shaders/delta/rule.ts */
  table: Tensor;
  chunks: number;
  sequences: number;
  /** states between two chunks of a sequence, which a backward pass keeps */
  kept: number;
}

/** The chunks of sequences laid end to end, from their starts `[sequences + 1]`: chunks begin anew with each sequence. */
export function chunkTable(cuSeqlens: ArrayLike<number>): Omit<DeltaChunks, "table"> & { words: Uint32Array } {
  const [chunks, runs]: number[][] = [[], []];
  let kept = 0;
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const [start, end] = [cuSeqlens[s], cuSeqlens[s + 1]];
    runs.push(chunks.length / 4, Math.ceil((end - start) / CHUNK), 0, 0);
    for (let first = start; first < end; first += CHUNK) {
      const before = first > start ? kept++ : NONE;
      const last = first + CHUNK >= end;
      chunks.push(first, Math.min(CHUNK, end - first), before, last ? NONE : kept);
    }
  }
  const words = Uint32Array.from([...chunks, ...runs]);
  return { words, chunks: chunks.length / 4, sequences: runs.length / 4, kept };
}

/** Heads that are gone through together, so that what they need fits a binding. */
interface HeadRange {
  first: number;
  heads: number;
}

/** What the rule reads: u `[tokens, width]`, query, key and value heads, the first two normed; gates `[tokens, heads, 2]`: g, beta. */
interface DeltaInput {
  u: Tensor;
  gates: Tensor;
  chunks: DeltaChunks;
}

/** What the backward pass needs of the forward one, for heads that were gone through together. */
interface DeltaKept extends HeadRange {
  solve: Tensor;
  /** `[2, kept, heads, key_head_dim, value_head_dim]`: states between chunks, and room for their gradients */
  states: Tensor;
  /** `[2, tokens, heads, value_head_dim]`: what is written to the state, and room for a gradient */
  inner: Tensor;
}

/**
 * The gated delta rule within each sequence of a packed batch, 64 tokens at a time: linear in the length.
 *
 * For each value head a state `S [key_head_dim, value_head_dim]`, 0 at first: `S ← e^g·S`, `d = beta·(v − Sᵀk)`,
 * `S ← S + k·dᵀ`, `o = Sᵀq`. Sums are f32. Records two dispatches.
 *
 * @param options.keep also what `deltaRuleBackward` needs: the states between chunks among it
 * @param options.ends where each sequence's last state goes, f32 `[sequences, num_value_heads, key_head_dim, value_head_dim]`
 * @returns o `[tokens, num_value_heads · value_head_dim]` f32, and what was kept
 * @throws {ShapeError} shapes or heads that do not fit
 * @throws {MemoryError} one head's share that passes a binding
 * @see shaders/delta/rule.ts, deltaRuleReference, arXiv:2412.06464
 */
export function deltaRule(
  record: Recorder,
  input: DeltaInput,
  heads: DeltaHeads,
  { keep = false, ends = null }: { keep?: boolean; ends?: Tensor | null } = {},
): { o: Tensor; kept: DeltaKept[] } {
  const pass = prepare(input, heads);
  const { tokens, variant, params, slices } = pass;
  const { key_head_dim, value_head_dim } = heads;
  const { table, chunks, sequences, kept: between } = input.chunks;
  const o = record.empty([tokens, heads.num_value_heads * value_head_dim], "f32", "delta.o");
  const all: DeltaKept[] = [];
  for (const range of headRanges(record, heads, input.chunks, tokens)) {
    const { heads: count } = range;
    const solve = solved(record, input, pass, range);
    const tensors = { u: input.u, table, solve, o };
    const scan = (keeps: "chunks" | "ends" | "nothing", more: Record<string, Tensor>) =>
      record.dispatch(
        deltaScan,
        { ...variant, keeps },
        { ...tensors, ...more },
        { ...range, ...params, chunks },
        [sequences, count, slices],
        pass.scanWork(range),
      );
    if (keep) {
      const states = record.empty(
        [2, Math.max(1, between), count, key_head_dim, value_head_dim],
        "f32",
        "delta.states",
      );
      const inner = record.empty([2, tokens, count, value_head_dim], "f32", "delta.inner");
      scan("chunks", { states, inner });
      all.push({ ...range, solve, states, inner });
    } else {
      scan(ends ? "ends" : "nothing", ends ? { states: ends } : {});
      record.release(solve);
    }
  }
  return { o, kept: all };
}

/** Gradients of `deltaRule`: dgates `[tokens, heads, 2]`, and parts `[tokens, num_value_heads, 2, key_head_dim]` of queries and keys by value head. */
interface DeltaGradients {
  dgates: Tensor;
  parts: Tensor;
}

/**
 * Gradients of `deltaRule`. Records three dispatches, and gives back what was kept.
 *
 * @param kept what the forward pass kept; overwritten
 * @param dout gradient of o
 * @param du `[tokens, width]`: its columns of values are written; those of queries and keys are `deltaL2NormBackward`'s
 */
export function deltaRuleBackward(
  record: Recorder,
  input: DeltaInput,
  kept: readonly DeltaKept[],
  { dout, du }: { dout: Tensor; du: Tensor },
  heads: DeltaHeads,
): DeltaGradients {
  const pass = prepare(input, heads);
  const { tokens, variant, params, slices } = pass;
  const { num_value_heads, key_head_dim, value_head_dim } = heads;
  const { u, gates } = input;
  const { table, chunks, sequences, kept: between } = input.chunks;
  sameShape("go back through the delta rule", dout, [tokens, num_value_heads * value_head_dim]);
  sameShape("go back through the delta rule", du, u.shape);
  const dgates = record.empty(gates.shape, "f32", "d.gates");
  const parts = record.empty([tokens, num_value_heads, 2, key_head_dim], "f32", "d.qk.parts");
  for (const { solve, states, inner, ...range } of kept) {
    const all = { ...range, ...params, chunks, tokens, kept: Math.max(1, between) };
    const read = { u, table, solve };
    const grid = [sequences, range.heads, slices] as const;
    record.dispatch(deltaScanBackward, variant, { ...read, dout, states, inner, du }, all, grid, pass.scanWork(range));
    const tiles = [chunks, range.heads] as const;
    const work = chunks * range.heads * CHUNK * CHUNK * 2;
    const scores = { ...read, gates, dout, inner, dgates };
    record.dispatch(deltaScores, variant, scores, all, tiles, work * (2 * value_head_dim + key_head_dim));
    const back = { ...read, states, dout, inner, parts, dgates };
    record.dispatch(deltaChunkBackward, variant, back, all, tiles, work * (3 * value_head_dim + 4 * key_head_dim));
    record.release(solve, states, inner);
  }
  return { dgates, parts };
}

type Prepared = ReturnType<typeof prepare>;

function prepare({ u, gates, chunks }: DeltaInput, heads: DeltaHeads) {
  const [tokens] = u.shape;
  const { num_value_heads, key_head_dim, value_head_dim } = heads;
  const variant = deltaVariant(heads);
  sameShape("apply the delta rule", u, [tokens, deltaWidth(heads)]);
  sameShape("apply the delta rule", gates, [tokens, num_value_heads, 2]);
  sameShape("apply the delta rule", chunks.table, [chunks.chunks + chunks.sequences, 4]);
  return {
    tokens,
    variant,
    params: { quads: key_head_dim / 4, dv: value_head_dim / 4 },
    slices: Math.ceil(value_head_dim / 16),
    scanWork: ({ heads: count }: HeadRange) =>
      2 * chunks.chunks * CHUNK * count * value_head_dim * (3 * key_head_dim + CHUNK),
  };
}

/** T, P and decays of each chunk. */
function solved(record: Recorder, { u, gates, chunks }: DeltaInput, { variant, params }: Prepared, range: HeadRange) {
  const solve = record.empty([chunks.chunks, range.heads, 4 * SOLVED], "f32", "delta.solve");
  const work = 4 * chunks.chunks * range.heads * CHUNK * CHUNK * (variant.keyDim + CHUNK / 2);
  const tensors = { u, gates, table: chunks.table, solve };
  const form = record.gpu.profile.kind === "cpu" ? { ...variant, rolled: true } : variant;
  record.dispatch(deltaChunk, form, tensors, { ...range, ...params }, [chunks.chunks, range.heads], work);
  return solve;
}

/** Value heads in as few ranges as a binding allows. */
function headRanges(
  record: Recorder,
  { num_value_heads: count, key_head_dim, value_head_dim }: DeltaHeads,
  { chunks, kept }: DeltaChunks,
  tokens: number,
): HeadRange[] {
  const limit = record.gpu.limits.maxStorageBufferBindingSize;
  const each = Math.max(16 * SOLVED * chunks, 8 * kept * key_head_dim * value_head_dim, 8 * tokens * value_head_dim);
  const most = Math.floor(limit / each);
  if (most < 1) {
    throw new MemoryError(
      `Cannot apply the delta rule: one head's states and chunks take ${each} bytes, and a binding of this device holds ${limit}`,
    );
  }
  const ranges: HeadRange[] = [];
  for (let first = 0; first < count; first += most) ranges.push({ first, heads: Math.min(most, count - first) });
  return ranges;
}

/** One sequence and value head in float64, token by token, with q and k as they are. */
export function deltaRuleReference(
  { q, k, v, g, beta }: Record<"q" | "k" | "v" | "g" | "beta", Float64Array>,
  state?: Float64Array,
): { o: Float64Array; state: Float64Array } {
  const tokens = g.length;
  const [dk, dv] = [q.length / tokens, v.length / tokens];
  const S = state?.slice() ?? new Float64Array(dk * dv);
  const o = new Float64Array(v.length);
  for (let t = 0; t < tokens; t++) {
    const fall = Math.exp(g[t]);
    for (let c = 0; c < dv; c++) {
      let known = 0;
      for (let d = 0; d < dk; d++) {
        S[d * dv + c] *= fall;
        known += S[d * dv + c] * k[t * dk + d];
      }
      const delta = beta[t] * (v[t * dv + c] - known);
      for (let d = 0; d < dk; d++) {
        S[d * dv + c] += k[t * dk + d] * delta;
        o[t * dv + c] += S[d * dv + c] * q[t * dk + d];
      }
    }
  }
  return { o, state: S };
}

/** Gradients of `Σ dout·o` of the same, in float64: the recurrence gone back through, token by token, from states that it keeps. */
export function deltaRuleBackwardReference(
  { q, k, v, g, beta }: Record<"q" | "k" | "v" | "g" | "beta", Float64Array>,
  dout: Float64Array,
): Record<"q" | "k" | "v" | "g" | "beta", Float64Array> {
  const tokens = g.length;
  const [dk, dv] = [q.length / tokens, v.length / tokens];
  const row = (x: Float64Array, t: number, n: number) => x.subarray(t * n, (t + 1) * n);
  const before: Float64Array[] = [];
  let S = new Float64Array(dk * dv);
  for (let t = 0; t < tokens; t++) {
    before.push(S);
    const one = { q: row(q, t, dk), k: row(k, t, dk), v: row(v, t, dv), g: row(g, t, 1), beta: row(beta, t, 1) };
    S = deltaRuleReference(one, S).state as Float64Array<ArrayBuffer>;
  }
  const back = { q: q.map(() => 0), k: k.map(() => 0), v: v.map(() => 0), g: g.map(() => 0), beta: g.map(() => 0) };
  const dS = new Float64Array(dk * dv);
  for (let t = tokens - 1; t >= 0; t--) {
    const after = t + 1 < tokens ? before[t + 1] : S;
    const fall = Math.exp(g[t]);
    for (let c = 0; c < dv; c++) {
      const dO = dout[t * dv + c];
      let [known, ddelta] = [0, 0];
      for (let d = 0; d < dk; d++) {
        known += fall * before[t][d * dv + c] * k[t * dk + d];
        back.q[t * dk + d] += after[d * dv + c] * dO;
        dS[d * dv + c] += q[t * dk + d] * dO;
        ddelta += dS[d * dv + c] * k[t * dk + d];
      }
      const error = v[t * dv + c] - known;
      back.beta[t] += ddelta * error;
      back.v[t * dv + c] = beta[t] * ddelta;
      for (let d = 0; d < dk; d++) {
        const decayed = fall * before[t][d * dv + c];
        back.k[t * dk + d] += dS[d * dv + c] * beta[t] * error - beta[t] * ddelta * decayed;
        const ddecayed = dS[d * dv + c] - beta[t] * ddelta * k[t * dk + d];
        back.g[t] += ddecayed * decayed;
        dS[d * dv + c] = fall * ddecayed;
      }
    }
  }
  return back;
}
