import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { DeltaChunks } from "../../kernels/delta/rule.ts";
import type { Hidden } from "../../kernels/matmul/layer-product.ts";
import type { DropoutSeed, Linear, LinearGrads } from "../../kernels/matmul/linear.ts";

/** The inputs that all blocks of one pass share. */
export interface Pass {
  /** epsilon of the norms */
  eps: number;
  /** cosines and sines [positions, rotary_dim] */
  table: Tensor;
  /** u32 [tokens] */
  positions: Tensor;
  /** u32 [tokens, 2]: first token of the row's sequence, and one past its last */
  spans: Tensor;
  /** of this pass's dropout masks; null outside training */
  dropoutSeed: DropoutSeed | null;
  /** a backward pass follows: what it reads is kept as `keep` of kept.ts says */
  saves: boolean;
  /** the batch in chunks of 64 tokens; null if no layer needs them */
  chunks: DeltaChunks | null;
  /** null if the pass fills no caches */
  prefill: PrefillRows | null;
}

/** Places of prompts in the caches. */
export interface PrefillRows {
  /** u32 `[n, 2]`: a row of the batch, and its row in the caches (slot · capacity + position) */
  pairs: Tensor;
  /** u32 `[m, 3]`: a sequence of the batch, its last row, and the slot of its state */
  ends: Tensor;
}

/** The cache positions of a decoding pass's rows. */
export interface StepRows {
  /** u32 `[rows]` */
  slots: Tensor;
  /** u32 `[rows]` */
  positions: Tensor;
  /** upper bound of the positions */
  longest: number;
  /** tokens of a slot */
  capacity: number;
}

/** A body's cached tensors for all slots, by name. */
export type BodyCache = Readonly<Record<string, Tensor>>;

/** Linear layers that read one input: one `Linear`, or one per projection if a binding cannot hold all. */
type LinearGroup = readonly Linear[];

/** Weights of a body, and the buffers for their gradients. */
export interface BodyParts<G extends string> {
  linears: Record<G, LinearGroup>;
  grads: Record<G, readonly LinearGrads[]>;
}

export interface ForwardOptions {
  /** keep everything that the backward pass reads, instead of recomputing it */
  keep: boolean;
  /** output tensor; default: a new one */
  into?: Tensor;
  /** of this body, if the pass fills caches */
  cache?: BodyCache | null;
  /** called after the last read of the input: its memory can be reused */
  onRead?: () => void;
}

/** One forward pass of a body: its result and its backward pass. */
export interface Trace {
  y: Tensor;
  /** tensors kept until the backward pass */
  kept: readonly (Tensor | null)[];
  /** Recomputes y from the kept tensors. @param x returns the normed input, if needed */
  again(x: () => Tensor): Tensor;
  /**
   * Adds the parameters' gradients.
   *
   * @param x the normed input [tokens, hidden]
   * @param dy [tokens, hidden]; not changed
   * @param needsInput false if the input needs no gradient: returns null
   * @returns dx [tokens, hidden]
   */
  backward(x: Tensor, dy: Tensor, needsInput: boolean): Tensor | null;
}

/**
 * The computation of a residual branch between its norms: attention or an MLP. Inputs and outputs are f32 [tokens,
 * hidden].
 */
export interface Body {
  /** by the group names of its spec */
  readonly linears: Readonly<Record<string, LinearGroup>>;
  /** the layers that read the body's input: decoding fuses their low-rank part with the norm before them */
  readonly first: LinearGroup;
  /** columns of its widest array if rows are independent (long batches are then split); else null */
  readonly width: number | null;
  forward(record: Recorder, pass: Pass, x: Tensor, options: ForwardOptions): Trace;
  /** Decodes one token per row. @param h low-rank part of `first` */
  step(record: Recorder, pass: Pass, x: Tensor, h: readonly Hidden[], rows: StepRows, cache: BodyCache | null): Tensor;
  /** Cache for `slots` sequences of `capacity` tokens; null if the body needs none. */
  newCache(gpu: Gpu, label: string, slots: number, capacity: number): BodyCache | null;
  /** The same body with other layers, all frozen. */
  frozen(change: (linear: Linear) => Linear): Body;
}

/** Applies a change to every linear layer of a body. */
export function mapLinears<G extends string>(
  linears: Record<G, LinearGroup>,
  change: (linear: Linear) => Linear,
): Record<G, LinearGroup> {
  const entries = Object.entries<LinearGroup>(linears).map(([group, all]) => [group, all.map(change)]);
  return Object.fromEntries(entries) as Record<G, LinearGroup>;
}

/** Gradients of frozen layers: none. */
export function noGrads<G extends string>(linears: Record<G, LinearGroup>): Record<G, readonly LinearGrads[]> {
  const none = () => ({ weight: null, bias: null, loraA: null, loraB: null });
  const entries = Object.entries<LinearGroup>(linears).map(([group, all]) => [group, all.map(none)]);
  return Object.fromEntries(entries) as Record<G, readonly LinearGrads[]>;
}
