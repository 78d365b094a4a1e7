import { deltaFill as fillShader, deltaStep as shader } from "../../../shaders/delta/step.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { sameShape, WORKGROUP } from "../grid.ts";
import type { DeltaRows } from "./conv.ts";
import { type DeltaHeads, deltaVariant, deltaWidth } from "./heads.ts";

/**
 * `deltaRule` of one token a row, whose state lies in its slot.
 *
 * @param u `[rows, width]` f32: query, key and value heads, the first two normed
 * @param gates f32 `[rows, num_value_heads, 2]`: g, beta
 * @param states f32 `[slots, num_value_heads, key_head_dim, value_head_dim]`, in place; at position 0 what lies there is not read
 * @returns o `[rows, num_value_heads · value_head_dim]` f32
 * @see shaders/delta/step.wgsl.ts, deltaRuleReference
 */
export function deltaStep(
  record: Recorder,
  { u, gates }: { u: Tensor; gates: Tensor },
  heads: DeltaHeads,
  { slots, positions }: DeltaRows,
  states: Tensor,
): Tensor {
  const [rows] = u.shape;
  const { num_value_heads, key_head_dim, value_head_dim } = heads;
  sameShape("take a step of the delta rule", u, [rows, deltaWidth(heads)]);
  sameShape("take a step of the delta rule", gates, [rows, num_value_heads, 2]);
  sameShape("take a step of the delta rule", states, [states.shape[0], num_value_heads, key_head_dim, value_head_dim]);
  const o = record.empty([rows, num_value_heads * value_head_dim], "f32", "delta.o");
  const grid = [rows, num_value_heads, Math.ceil(value_head_dim / 16)] as const;
  const work = 8 * rows * num_value_heads * key_head_dim * value_head_dim;
  record.dispatch(shader, deltaVariant(heads), { u, gates, slots, positions, states, o }, {}, grid, work);
  return o;
}

/**
 * Copies the states at the ends of sequences to slots.
 *
 * @param states `[sequences, …]` as `deltaRule` gives them, `into` `[slots, …]`
 * @param ends u32 `[n, 3]`: a sequence, its last row, and a slot, each slot once
 */
export function deltaFill(record: Recorder, states: Tensor, ends: Tensor, into: Tensor): void {
  const size = sizeOf(into.shape.slice(1)) / 4;
  sameShape("fill states", states, [states.shape[0], ...into.shape.slice(1)]);
  record.dispatch(fillShader, { workgroup: WORKGROUP }, { states, ends, into }, { size }, [
    Math.ceil(size / WORKGROUP),
    sizeOf(ends.shape) / 3,
  ]);
}
