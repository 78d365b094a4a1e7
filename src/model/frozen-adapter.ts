import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { WeightShard } from "../kernels/embedding/embedding.ts";
import type { Linear } from "../kernels/matmul/linear.ts";
import { frozenBlock } from "./layers/block.ts";
import type { TokenRows } from "./layers/tables.ts";
import type { Weights } from "./weights.ts";

/**
 * The same weights with a copy of the trained parameters, which training does not change. Shares all other weights.
 *
 * @param values the store's values: LoRA matrices, magnitudes, whole tables, rows of tables
 */
export function withCopy(record: Recorder, weights: Weights, values: Tensor): Weights {
  const { gpu } = record;
  const kept = gpu.persistent(values.shape, "f32", "parameters.kept", "weights");
  record.copy(values, kept);
  const moved = (tensor: Tensor) => ({
    ...tensor,
    buffer: kept.buffer,
    offset: kept.offset + tensor.offset - values.offset,
  });
  const keep = (linear: Linear) => {
    const { lora } = linear;
    if (!lora) return linear;
    const { dora = null } = lora;
    const own = dora && {
      ...dora,
      magnitude: moved(dora.magnitude),
      gains: gpu.persistent(dora.gains.shape, "f32", `${dora.gains.label}.kept`, "weights"),
    };
    if (own) record.copy(dora.gains, own.gains); // columns without an adapter have gains of 1
    return { ...linear, lora: { ...lora, a: moved(lora.a), b: moved(lora.b), dropout: 0, dora: own } };
  };
  const table = (shards: readonly WeightShard[]) =>
    shards.map((shard) => (shard.tensor.buffer === values.buffer ? { ...shard, tensor: moved(shard.tensor) } : shard));
  const rows = (own: TokenRows | null) => own && { ...own, rows: moved(own.rows), grad: null };
  return {
    rows: { embed: rows(weights.rows.embed), head: rows(weights.rows.head) },
    embed: table(weights.embed),
    head: table(weights.head),
    norm: { ...weights.norm, grad: null },
    blocks: weights.blocks.map((block) => frozenBlock(block, keep)),
  };
}
