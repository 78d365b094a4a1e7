import {
  attentionDirectBackwardKv as backwardKv,
  attentionDirectBackwardQ as backwardQ,
  attentionDirect as forward,
  TILE_ROWS,
} from "../../../shaders/attention/attention-direct.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { AttentionPass } from "./attention-lanes.ts";

// Attention on CPU adapters without small subgroups: a tile reads its own rows directly from memory, and waits at few barriers.

/** Workgroup memory that WebGPU guarantees, in bytes. */
const SHARED = 16384;

/** Threads across a tile, and rows of the other side in workgroup memory: as many as fit, up to 32. */
function tileOf({ limits }: GpuContext, headDim: number): { across: number; span: number } {
  const most = Math.max(SHARED, limits.maxComputeWorkgroupStorageSize ?? 0);
  const wide = [32, 16].map((span) => ({ across: headDim > 64 ? 16 : 8, span }));
  const tile = [...wide, { across: 8, span: 8 }].find(({ across, span }) => {
    const pitch = Math.ceil(headDim / 4 / across) * across;
    return 16 * span * (pitch + TILE_ROWS / 4) <= most;
  });
  if (!tile)
    throw new ShapeError(`Cannot attend with head_dim ${headDim}: 8 keys pass ${most} bytes of workgroup memory`);
  return tile;
}

function dispatchOf(record: Recorder, { tokens, sizes, params }: AttentionPass) {
  const tile = tileOf(record.gpu, sizes.headDim);
  return {
    variant: { ...sizes, ...tile },
    all: { ...params, quads: sizes.headDim / 4, span: tile.span },
    grid: [Math.ceil(tokens / TILE_ROWS), sizes.heads] as const,
  };
}

/** @param tensors qkv and spans are read, o and stats written */
export function recordDirect(
  record: Recorder,
  pass: AttentionPass,
  tensors: Record<"qkv" | "spans" | "o" | "stats", Tensor>,
): void {
  const { variant, all, grid } = dispatchOf(record, pass);
  record.dispatch(forward, variant, tensors, all, grid, pass.work);
}

/** @param tensors parts is written, and the second entries of stats; the others are read */
export function recordDirectBackward(
  record: Recorder,
  pass: AttentionPass,
  tensors: Record<"qkv" | "spans" | "o" | "dout" | "stats" | "parts", Tensor>,
): void {
  const { variant, all, grid } = dispatchOf(record, pass);
  const { o, ...others } = tensors;
  record.dispatch(backwardQ, variant, { ...others, o }, all, grid, 1.5 * pass.work);
  record.dispatch(backwardKv, variant, others, all, grid, 2 * pass.work);
}
