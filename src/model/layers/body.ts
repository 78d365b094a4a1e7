import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Linear, LinearGrads } from "../../kernels/matmul/linear.ts";
import type { Hidden } from "../../kernels/matmul/lora-linear.ts";

/** What all blocks of one pass share. */
export interface Pass {
  /** epsilon of the norms */
  eps: number;
  /** cosines and sines [positions, head_dim] */
  table: Tensor;
  /** u32 [tokens] */
  positions: Tensor;
  /** u32 [tokens, 2]: first token of the row's sequence, and one past its last */
  spans: Tensor;
  /** u32 of this pass's dropout masks; null outside training */
  dropoutSeed: number | null;
  /** where the rows of prompts go in the caches; null where nothing is cached */
  prefill: Tensor | null;
}

/** Where the rows of a decoding pass stand. */
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

/** What a body keeps of each slot's sequence, by name. */
export type BodyCache = Readonly<Record<string, Tensor>>;

/** Linear layers that read one input: one `Linear`, or where a binding cannot hold it one a projection. */
type LinearGroup = readonly Linear[];

/** Weights of a body, and where their gradients go. */
export interface BodyParts<G extends string> {
  linears: Record<G, LinearGroup>;
  grads: Record<G, readonly LinearGrads[]>;
}

export interface ForwardOptions {
  /** keep all that the backward pass reads, rather than recompute it */
  keep: boolean;
  /** where to write the result; a new tensor when absent */
  into?: Tensor;
  /** of this body, where the pass fills caches */
  cache?: BodyCache | null;
  /** called once the input has been read for the last time: its memory may be used again */
  onRead?: () => void;
}

/** One forward pass of a body: its result, and its way back. */
export interface Trace {
  y: Tensor;
  /** kept until the backward pass */
  kept: readonly (Tensor | null)[];
  /** Computes y again from what was kept. @param x gives the normed input, where it is needed */
  again(x: () => Tensor): Tensor;
  /**
   * Adds the parameters' gradients.
   *
   * @param x the normed input [tokens, hidden]
   * @param dy [tokens, hidden]; stays as it is
   * @param needsInput false where the input takes no gradient: returns null
   * @returns dx [tokens, hidden]
   */
  backward(x: Tensor, dy: Tensor, needsInput: boolean): Tensor | null;
}

/** What a residual branch computes between its norms: attention, an MLP. All tensors are f32 [tokens, hidden] outside of it. */
export interface Body {
  /** by the names of its spec's groups */
  readonly linears: Readonly<Record<string, LinearGroup>>;
  /** the layers that read its input: decoding computes their low-rank part together with the norm before */
  readonly first: LinearGroup;
  /** columns of its widest array, where it takes each row by itself: long batches then go through it in parts; else null */
  readonly width: number | null;
  forward(record: Recorder, pass: Pass, x: Tensor, options: ForwardOptions): Trace;
  /** One token a row. @param h low-rank part of `first` */
  step(record: Recorder, pass: Pass, x: Tensor, h: readonly Hidden[], rows: StepRows, cache: BodyCache | null): Tensor;
  /** Memory for `slots` sequences of `capacity` tokens; null where it keeps nothing of them. */
  newCache(gpu: Gpu, label: string, slots: number, capacity: number): BodyCache | null;
  /** The same body with other layers, which take no gradient. */
  frozen(change: (linear: Linear) => Linear): Body;
}

/** Each linear layer of a body changed. */
export function mapLinears<G extends string>(
  linears: Record<G, LinearGroup>,
  change: (linear: Linear) => Linear,
): Record<G, LinearGroup> {
  const entries = Object.entries<LinearGroup>(linears).map(([group, all]) => [group, all.map(change)]);
  return Object.fromEntries(entries) as Record<G, LinearGroup>;
}

/** Gradients of layers that are frozen. */
export function noGrads<G extends string>(linears: Record<G, LinearGroup>): Record<G, readonly LinearGrads[]> {
  const none = () => ({ weight: null, bias: null, loraA: null, loraB: null });
  const entries = Object.entries<LinearGroup>(linears).map(([group, all]) => [group, all.map(none)]);
  return Object.fromEntries(entries) as Record<G, readonly LinearGrads[]>;
}
