import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { embedding, embeddingBackward, groupTokens, type WeightShard } from "../../kernels/embedding/embedding.ts";
import { putColumns, takeColumns } from "../../kernels/head/token-columns.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";

/** Rows that replace those of some tokens in the embedding, the head or both: PEFT's trainable_token_indices. */
export interface TokenRows {
  /** by token: its row */
  byToken: ReadonlyMap<number, number>;
  /** u32 `[count]`: the token of each row */
  ids: Tensor;
  /** u32 `[vocab]`: the row of each token; `count` for tokens without one */
  places: Tensor;
  /** f32 `[count, hidden]` */
  rows: Tensor;
  /** of the rows' shape; null if frozen */
  grad: Tensor | null;
}

/** The rows that replace those of the tables; null: none. A model that ties its tables has the same for both. */
export interface TableRows {
  embed: TokenRows | null;
  head: TokenRows | null;
}

/** The index of trained rows on the GPU. @param ids the token of each row, no token twice */
export function indexRows(
  gpu: Gpu,
  ids: readonly number[],
  vocab: number,
  { rows, grad }: Pick<TokenRows, "rows" | "grad">,
): TokenRows {
  const places = new Uint32Array(vocab).fill(ids.length);
  ids.forEach((id, row) => {
    places[id] = row;
  });
  const up = (data: Uint32Array, label: string) => gpu.upload(data, [data.length], "u32", label, "weights");
  return {
    byToken: new Map(ids.map((id, row) => [id, row])),
    ids: up(Uint32Array.from(ids), `${rows.label}.ids`),
    places: up(places, `${rows.label}.places`),
    rows,
    grad,
  };
}

/** Tokens' rows of the embedding, `[tokens, hidden]` f32. @param noise NEFTune's */
export function embedTokens(
  record: Recorder,
  ids: Tensor,
  { embed, rows }: { embed: readonly WeightShard[]; rows: TableRows },
  noise: Parameters<typeof embedding>[3] = {},
): Tensor {
  const x = embedding(record, ids, embed, noise);
  const own = rows.embed;
  if (own) embedding(record, ids, [{ start: 0, tensor: own.rows }], { ...noise, over: { x, places: own.places } });
  return x;
}

/**
 * Adds to the gradients of the embedding, and of the rows that replace some of its own.
 *
 * @param dx gradient of `embedTokens` `[tokens, hidden]`
 * @param grads of the embedding's shards; null if frozen
 */
export function embedTokensBackward(
  record: Recorder,
  dx: Tensor,
  input_ids: ArrayLike<number>,
  { grads, own }: { grads: readonly WeightShard[] | null; own: TokenRows | null },
): void {
  const add = (ids: Uint32Array, to: readonly WeightShard[]) => {
    const groups = groupTokens(ids);
    const up = (data: Uint32Array, label: string) => record.upload(data, [data.length], label);
    const onGpu = {
      tokens: up(groups.tokens, "groups.tokens"),
      starts: up(groups.starts, "groups.starts"),
      order: up(groups.order, "groups.order"),
    };
    for (const { tensor, start } of to) embeddingBackward(record, dx, onGpu, tensor, start);
  };
  if (grads) add(Uint32Array.from(input_ids), grads);
  if (!own?.grad) return;
  // tokens without a row become one that is past the last
  const places = Uint32Array.from(input_ids, (id) => own.byToken.get(id) ?? own.byToken.size);
  add(places, [{ start: 0, tensor: own.grad }]);
}

/**
 * Logits of hidden rows against every shard of the output table, with the rows that replace some of its own.
 *
 * @param into a tensor with room for each shard's logits; absent: new ones
 * @returns f32 `[rows, n]` for each shard
 */
export function tableLogits(
  record: Recorder,
  hidden: Tensor,
  { head, own }: { head: readonly WeightShard[]; own: TokenRows | null },
  into: readonly Tensor[] | null = null,
): WeightShard[] {
  const columns = own && matmul(record, hidden, own.rows, { transB: true, label: "token.logits" });
  const logits = head.map(({ tensor, start }, i) => {
    const place = into ? { into: view(into[i], [hidden.shape[0], tensor.shape[0]]) } : {};
    const part = matmul(record, hidden, tensor, { transB: true, label: "logits", ...place });
    if (own) putColumns(record, { logits: part, start, ids: own.ids }, columns!);
    return { tensor: part, start };
  });
  record.release(columns);
  return logits;
}

/**
 * The way back of `tableLogits`, for replaced rows: takes their gradients out of a shard's, whose product with the table then lacks
 * them.
 *
 * @param columns f32 `[rows, count]`, filled by the shards one after another
 */
export function takeRowLogits(record: Recorder, dlogits: WeightShard, own: TokenRows, columns: Tensor): void {
  takeColumns(record, { logits: dlogits.tensor, start: dlogits.start, ids: own.ids }, columns);
}

/** Adds the replaced rows' part to the gradient of the hidden rows `x`, and to their own. @param columns of `takeRowLogits` */
export function rowLogitsBackward(
  record: Recorder,
  own: TokenRows,
  columns: Tensor,
  { x, dx }: { x: Tensor; dx: Tensor },
): void {
  matmul(record, columns, own.rows, { into: dx, accumulate: true });
  if (own.grad) matmul(record, columns, x, { transA: true, into: own.grad, accumulate: true });
}
