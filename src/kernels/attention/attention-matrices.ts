import {
  attentionDelta,
  attentionMatricesBackwardKv as backwardKv,
  attentionMatricesBackwardQ as backwardQ,
  attentionMatrices as forward,
} from "../../../shaders/attention/attention-matrices.wgsl.ts";
import {
  type AttentionMatrixVariant,
  attentionMatrixBytes,
  matrixSizes,
  packedWidth,
} from "../../../shaders/attention/lib/matrices.ts";
import type { SubgroupMatrix } from "../../../shaders/matmul/lib/variant.ts";
import type { GpuContext } from "../../gpu/context.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { usesMatrices } from "../matmul/gpu-tiles.ts";
import { type PackedRows, packRows } from "../matmul/pack-rows.ts";
import type { AttentionPass } from "./attention-lanes.ts";
import { recordTiles } from "./tile-blocks.ts";

// Attention on an adapter's matrix units of f16. Heads of queries, keys, values and gradients are scaled by powers of two,
// rounded to f16 and packed first.

/** Subgroups along own rows, along rows of the other side, and along a head, the largest first. */
const BOXES = [
  [4, 2, 1],
  [4, 1, 2],
  [2, 2, 2],
  [2, 1, 4],
  [1, 2, 4],
  [1, 1, 8],
  [2, 2, 1],
  [2, 1, 2],
  [1, 1, 4],
  [2, 1, 1],
  [1, 1, 2],
  [1, 1, 1],
] as const;

/** Registers of a thread for own rows and sums that leave RDNA 3 eight waves: 192 registers, most of them for scores and moves. */
const REGISTERS = 72;

/** Matrices that each kernel keeps in registers: own rows, and sums. */
const KEPT = { forward: [1, 1], backwardQ: [2, 1], backwardKv: [2, 2] } as const;

/** The variants of the three kernels for a device; null if it cannot hold one of them. */
function variantsOf({ limits }: Pick<GpuContext, "limits">, sizes: AttentionPass["sizes"], matrix: SubgroupMatrix) {
  const variants = BOXES.map(([groups, lanes, parts]) => ({ ...sizes, matrix, groups, lanes, parts })).filter((v) => {
    const { threads, width, per, columns, others } = matrixSizes(v);
    const { lanes, parts } = v;
    return (
      threads <= limits.maxComputeInvocationsPerWorkgroup &&
      threads % matrix.multiple === 0 &&
      [per, columns].every((n) => Number.isInteger(n)) &&
      width % Math.max(matrix.n * lanes * parts, matrix.k * parts, 8 * lanes * parts) === 0 &&
      others % matrix.k === 0 &&
      attentionMatrixBytes(v) <= limits.maxComputeWorkgroupStorageSize
    );
  });
  const first = ([own, sums]: readonly [number, number]): AttentionMatrixVariant | null => {
    const words = (v: AttentionMatrixVariant) => {
      const { blockRows, along, share } = matrixSizes(v);
      return (blockRows / matrix.size) * (own * along + sums * share);
    };
    return variants.find((v) => words(v) <= REGISTERS) ?? [...variants].sort((x, y) => words(x) - words(y))[0] ?? null;
  };
  const [f, q, kv] = [first(KEPT.forward), first(KEPT.backwardQ), first(KEPT.backwardKv)];
  return f && q && kv ? { forward: f, backwardQ: q, backwardKv: kv } : null;
}

/** The matrices of this device for attention of heads of these sizes; null: its precision, units or memory do not allow it. */
export function matricesFor(gpu: GpuContext, sizes: AttentionPass["sizes"]): SubgroupMatrix | null {
  const { matrix } = gpu.features;
  return usesMatrices(gpu) && matrix && variantsOf(gpu, sizes, matrix) ? matrix : null;
}

/** Heads of rows as matrix units read them, with rows of zeros up to a multiple of `tile`. */
function packHeads(record: Recorder, rows: Tensor, tokens: number, headDim: number, tile: number): PackedRows {
  const heads = rows.shape[1] / headDim;
  const whole = tile * Math.ceil(tokens / tile);
  const size = { rows: whole * heads, filled: tokens * heads, k: headDim, lda: headDim, aAt: 0 };
  return packRows(record, rows, null, { ...size, ld: packedWidth(headDim) });
}

/** Own rows of a workgroup. */
const rowsOf = (v: AttentionMatrixVariant) => matrixSizes(v).rows;

/** @param tensors qkv and spans are read, o and stats written */
export function recordAttentionMatrices(
  record: Recorder,
  pass: AttentionPass,
  matrix: SubgroupMatrix,
  { qkv, ...tensors }: Record<"qkv" | "spans" | "o" | "stats", Tensor>,
): void {
  const { tokens, sizes } = pass;
  const { forward: variant } = variantsOf(record.gpu, sizes, matrix)!;
  const rows = rowsOf(variant);
  const { packed, scales } = packHeads(record, qkv, tokens, sizes.headDim, rows);
  const kernel = { shader: forward, variant, rows, cost: 1 };
  recordTiles(record, pass, kernel, { packed, own: packed, scales, ...tensors });
  record.release(packed, scales);
}

/** @param tensors parts is written, and the second entries of stats; the others are read */
export function recordAttentionMatricesBackward(
  record: Recorder,
  pass: AttentionPass,
  matrix: SubgroupMatrix,
  { qkv, spans, o, dout, stats, parts }: Record<"qkv" | "spans" | "o" | "dout" | "stats" | "parts", Tensor>,
): void {
  const { tokens, sizes } = pass;
  const { heads, headDim } = sizes;
  const { backwardQ: q, backwardKv: kv } = variantsOf(record.gpu, sizes, matrix)!;
  const tile = Math.max(rowsOf(q), rowsOf(kv));
  const delta = { headDim, rows: 8, lanes: 8 };
  const count = tokens * heads;
  record.dispatch(attentionDelta, delta, { o, dout, stats }, { count }, Math.ceil(count / delta.rows), count * headDim);
  const own = packHeads(record, qkv, tokens, headDim, tile);
  const grad = packHeads(record, dout, tokens, headDim, tile);
  const bound = {
    packed: own.packed,
    own: own.packed,
    scales: own.scales,
    gradScales: grad.scales,
    spans,
    stats,
    parts,
  };
  const kernelQ = { shader: backwardQ, variant: q, rows: rowsOf(q), cost: 1.5 };
  recordTiles(record, pass, kernelQ, { ...bound, ownGrad: grad.packed });
  const kernelKv = { shader: backwardKv, variant: kv, rows: rowsOf(kv), keys: true, cost: 2 } as const;
  recordTiles(record, pass, kernelKv, { ...bound, packedGrad: grad.packed });
  record.release(own.packed, own.scales, grad.packed, grad.scales);
}
