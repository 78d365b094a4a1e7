import type { DeltaVariant } from "../../../shaders/delta/rule.ts";
import { ShapeError } from "../../errors.ts";

/** Heads of a gated delta net, as config.json names them without `linear_`. */
export interface DeltaHeads {
  num_key_heads: number;
  /** a multiple of num_key_heads: value head j reads key head ⌊j·num_key_heads/num_value_heads⌋ */
  num_value_heads: number;
  key_head_dim: number;
  value_head_dim: number;
}

/** Columns of queries, keys and values side by side. */
export function deltaWidth({ num_key_heads, num_value_heads, key_head_dim, value_head_dim }: DeltaHeads): number {
  return 2 * num_key_heads * key_head_dim + num_value_heads * value_head_dim;
}

/** @throws {ShapeError} heads that do not divide, sizes that are no multiple of 4 */
export function deltaVariant(heads: DeltaHeads): DeltaVariant {
  const { num_key_heads, num_value_heads, key_head_dim, value_head_dim } = heads;
  if (num_value_heads % num_key_heads !== 0) {
    throw new ShapeError(
      `Cannot take ${num_value_heads} value heads over ${num_key_heads} key heads: the first must be a multiple of the second`,
    );
  }
  if (key_head_dim % 4 !== 0 || value_head_dim % 4 !== 0) {
    throw new ShapeError(`Cannot take heads of ${key_head_dim} and ${value_head_dim}: both must be multiples of 4`);
  }
  return {
    keyDim: key_head_dim,
    valueDim: value_head_dim,
    keyHeads: num_key_heads,
    valueHeads: num_value_heads,
  };
}
