import {
  attentionLanesBackward as backward,
  attentionLanes as forward,
} from "../../../shaders/attention/attention-lanes.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";

// Attention for CPU adapters: the lanes of a small subgroup load rows and broadcast them.

/** Inputs that `attention` has checked. */
export interface AttentionPass {
  tokens: number;
  sizes: { headDim: number; heads: number; kvHeads: number; causal: boolean };
  params: { tokens: number; scale: number; dim: number };
  /** forward pass or gradient, for the recorder */
  work: number;
}

/**
 * A workgroup handles the sequences that begin in this many tokens: enough workgroups for all cores, few of them idle.
 */
const CHUNK = 64;

/** Workgroup memory that WebGPU guarantees, in bytes. */
const SHARED = 16384;

/**
 * Query columns of a tiny model, which compiles for longer than it runs: backward, 4 rows and 4 keys a lane compile for 4.7 s of
 * processor time on llvmpipe, 2 and 2 for 1.7 s, and take 1.2 to 1.3 times as long.
 */
const TINY = 256;

/**
 * Rows and keys per lane, chosen by measurement: more make SwiftShader compile for minutes. Fewer rows if sums do not
 * fit.
 */
function lanesOf(record: Recorder, { heads, headDim }: AttentionPass["sizes"], backward: boolean) {
  const lanes = record.gpu.profile.subgroup!.size!;
  if (lanes === 4 || heads * headDim <= TINY) return { lanes, rows: 2, keys: 2 };
  const most = Math.floor(SHARED / (4 * lanes * headDim));
  return { lanes, rows: most >= 4 ? 4 : most >= 2 ? 2 : 1, keys: backward ? 4 : 2 };
}

/** @param tensors qkv and spans are read, o and stats written */
export function recordLanes(
  record: Recorder,
  { tokens, sizes, params, work }: AttentionPass,
  tensors: Record<"qkv" | "spans" | "o" | "stats", Tensor>,
): void {
  const variant = { ...sizes, ...lanesOf(record, sizes, false) };
  const tiles = Math.ceil(tokens / (variant.rows * variant.lanes));
  record.dispatch(forward, variant, tensors, params, [tiles, sizes.heads], work);
}

/** @param tensors parts is written, the others are read */
export function recordLanesBackward(
  record: Recorder,
  { tokens, sizes, params, work }: AttentionPass,
  tensors: Record<"qkv" | "spans" | "o" | "dout" | "stats" | "parts", Tensor>,
): void {
  const variant = { ...sizes, ...lanesOf(record, sizes, true) };
  const grid = [Math.ceil(tokens / CHUNK), sizes.heads] as const;
  record.dispatch(backward, variant, tensors, { ...params, chunk: CHUNK }, grid, 2.5 * work);
}
