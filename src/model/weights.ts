import type { WeightShard } from "../kernels/embedding/embedding.ts";
import type { Block } from "./layers/block.ts";
import type { Norm } from "./layers/norm.ts";
import type { TableRows } from "./layers/tables.ts";

/** All weights of a model on the GPU. */
export interface Weights {
  /** the embedding table, in shards that fit a binding */
  embed: readonly WeightShard[];
  /** the output table: the same shards if the embeddings are tied */
  head: readonly WeightShard[];
  /** rows that an adapter trains in the tables' place */
  rows: TableRows;
  /** after the last block */
  norm: Norm;
  blocks: readonly Block[];
}
