import { tokenColumns as shader } from "../../../shaders/head/token-columns.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";

/** Logits of a shard of the vocabulary, and the tokens whose columns are exchanged. */
interface ShardColumns {
  /** f32 `[rows, cols]`, updated */
  logits: Tensor;
  /** the shard's first token */
  start: number;
  /** u32 `[count]`, no token twice; tokens of other shards are left alone */
  ids: Tensor;
}

/**
 * Logits of some tokens, from columns: `logits[r, ids[k] − start] = columns[r, k]`. One dispatch.
 *
 * @param columns f32 `[rows, count]`
 * @throws {ShapeError} another number of rows or tokens
 * @see shaders/head/token-columns.wgsl.ts, putColumnsReference
 */
export function putColumns(record: Recorder, shard: ShardColumns, columns: Tensor): void {
  exchange(record, shard, columns, "put");
}

/**
 * The way back: `columns[r, k] = logits[r, ids[k] − start]`, whose logits become zeros. Columns of other shards' tokens stay. One
 * dispatch.
 *
 * @param columns f32 `[rows, count]`, updated
 * @throws {ShapeError} another number of rows or tokens
 */
export function takeColumns(record: Recorder, shard: ShardColumns, columns: Tensor): void {
  exchange(record, shard, columns, "take");
}

function exchange(record: Recorder, { logits, start, ids }: ShardColumns, columns: Tensor, way: "put" | "take"): void {
  const [rows, cols] = logits.shape;
  const [count] = ids.shape;
  sameShape(`${way} token columns`, columns, [rows, count]);
  record.dispatch(
    shader,
    { way, workgroup: WORKGROUP },
    { ids, logits, columns },
    { rows, count, cols, start },
    threadGrid(rows * count),
  );
}

/** `putColumns` for one row in float64. */
export function putColumnsReference(
  logits: ArrayLike<number>,
  columns: ArrayLike<number>,
  ids: readonly number[],
  start: number,
): Float64Array {
  const out = Float64Array.from(logits);
  ids.forEach((id, k) => {
    if (id >= start && id - start < logits.length) out[id - start] = columns[k];
  });
  return out;
}
