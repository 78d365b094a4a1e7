import { type Params, paramsOf } from "./params.ts";
import type { MemoryKind } from "./pool.ts";
import type { Program } from "./program.ts";
import type { DType, Tensor } from "./tensor.ts";

/** A dispatch with its bind group. */
export interface Dispatch {
  readonly program: Program;
  readonly group: GPUBindGroup;
  readonly params: Params | null;
  readonly size: readonly [number, number, number];
  readonly work: number;
}

/** A dispatch of a plan: its bindings are numbers of tensors, in the program's order. */
interface PlannedDispatch extends Omit<Dispatch, "group"> {
  readonly kind: "dispatch";
  readonly bindings: readonly number[];
  /** words that differ from one use to the next, and the number of the value in each use */
  readonly seeds: readonly { word: number; value: number }[];
}

/** One step of a plan. Tensors have numbers: first the given ones, then those that the plan makes. */
type Step =
  | PlannedDispatch
  | { readonly kind: "make"; shape: readonly number[]; dtype: DType; label: string; memory: MemoryKind }
  | { readonly kind: "free"; tensor: number };

/** Dispatches and their temporary tensors, to be recorded again with other tensors of the same shapes. */
export type Plan = readonly Step[];

/** Notes what a function records, as steps of a plan. */
export class PlanWriter {
  private readonly steps: Step[] = [];
  private readonly tensors: (Tensor | null)[];
  private readonly seeds: readonly number[];
  /** false: the function did more than a plan can say */
  private whole = true;

  /**
   * @param given tensors that uses of the plan replace
   * @param seeds values of `seed…` parameters that uses of the plan replace
   */
  constructor(given: readonly (Tensor | null)[], seeds: readonly number[]) {
    this.tensors = [...given];
    this.seeds = seeds;
    if (new Set(seeds).size < seeds.length) this.whole = false; // which of them a parameter has is unknown
  }

  get plan(): Plan | null {
    return this.whole ? this.steps : null;
  }

  refuse(): void {
    this.whole = false;
  }

  made(tensor: Tensor, kind: MemoryKind): void {
    const { shape, dtype, label } = tensor;
    this.steps.push({ kind: "make", shape, dtype, label, memory: kind });
    this.tensors.push(tensor);
  }

  freed(tensor: Tensor): void {
    this.steps.push({ kind: "free", tensor: this.numberOf(tensor) });
  }

  dispatched(
    { program, params, size, work }: Omit<Dispatch, "group">,
    bindings: Readonly<Record<string, Tensor>>,
  ): void {
    const words = params?.words.slice() ?? null;
    const seeds: { word: number; value: number }[] = [];
    program.params.forEach(({ name }, word) => {
      if (this.seeds.length === 0 || !name.startsWith("seed")) return;
      const value = this.seeds.indexOf(words![word]);
      if (value >= 0) seeds.push({ word, value });
      else if (words![word] !== 0) this.whole = false;
    });
    this.steps.push({
      kind: "dispatch",
      program,
      params: words && paramsOf(words),
      size,
      work,
      bindings: program.storage.map(({ name }) => this.numberOf(bindings[name])),
      seeds,
    });
  }

  private numberOf(tensor: Tensor): number {
    const at = this.tensors.indexOf(tensor);
    if (at < 0) this.whole = false; // a view, made from what only this use has
    return at;
  }
}
