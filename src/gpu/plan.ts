import { type Params, paramsOf } from "./params.ts";
import type { MemoryKind } from "./pool.ts";
import type { Program } from "./program.ts";
import type { Tensor } from "./tensor.ts";

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
  readonly bindings: readonly number[];
  /** words that differ from one use to the next, and the number of the value in each use */
  readonly seeds: readonly { word: number; value: number }[];
}

/** A tensor that a plan makes: of the pool, or a view. */
interface Made extends Pick<Tensor, "shape" | "dtype" | "label" | "bytes"> {
  readonly kind: MemoryKind;
  /** of a view: bytes from the start of the tensor that it is a view of */
  readonly offset: number;
}

/**
 * One step of a plan. Tensors have numbers: first the given ones, then those that the plan makes. All steps have the same fields, so
 * that following a plan is fast.
 */
export interface Step {
  readonly op: "dispatch" | "make" | "free" | "view" | "copy" | "clear";
  /** the tensor to free, to clear, to copy or to view; −1 for other steps */
  readonly tensor: number;
  /** where a copy goes */
  readonly to: number;
  readonly made: Made | null;
  readonly run: PlannedDispatch | null;
}

/** Dispatches, copies and their temporary tensors, to be recorded again with other tensors of the same shapes. */
export interface Plan {
  readonly steps: readonly Step[];
  /** number of tensors that each use gives */
  readonly given: number;
  /** numbers of the results; −1: none */
  readonly results: readonly number[];
}

const NO_TENSOR = -1;

/** One place that makes steps, so that all have the same hidden class. */
function stepOf(
  op: Step["op"],
  tensor: number,
  to: number = NO_TENSOR,
  made: Made | null = null,
  run: PlannedDispatch | null = null,
): Step {
  return { op, tensor, to, made, run };
}

/** Notes what a function records, as steps of a plan. */
export class PlanWriter {
  private readonly steps: Step[] = [];
  private readonly given: number;
  private readonly numbers = new Map<Tensor, number>();
  /** tensors whose memory is theirs still */
  private readonly live: Tensor[];
  private readonly seeds: readonly number[];
  private count = 0;
  private results: readonly number[] = [];
  /** false: the function did more than a plan can say */
  private whole = true;

  /**
   * @param given tensors that uses of the plan replace
   * @param seeds values of `seed…` parameters that uses of the plan replace
   */
  constructor(given: readonly (Tensor | null)[], seeds: readonly number[]) {
    this.given = given.length;
    this.seeds = seeds;
    for (const tensor of given) {
      if (tensor && !this.numbers.has(tensor)) this.numbers.set(tensor, this.count);
      this.count++;
    }
    this.live = [...this.numbers.keys()];
    if (new Set(seeds).size < seeds.length) this.whole = false; // which of them a parameter has is unknown
  }

  get plan(): Plan | null {
    const { steps, given, results } = this;
    return this.whole ? { steps, given, results } : null;
  }

  refuse(): void {
    this.whole = false;
  }

  /** The tensors that uses of the plan return: given ones, or made ones that are not freed. */
  returned(results: readonly (Tensor | null)[]): void {
    this.results = results.map((tensor) => (tensor ? this.numberOf(tensor) : -1));
  }

  made(tensor: Tensor, kind: MemoryKind): void {
    const { shape, dtype, label, bytes } = tensor;
    this.steps.push(stepOf("make", NO_TENSOR, NO_TENSOR, { shape, dtype, label, bytes, kind, offset: 0 }));
    this.add(tensor);
  }

  freed(tensor: Tensor): void {
    const number = this.numberOf(tensor);
    this.steps.push(stepOf("free", number));
    const at = this.live.indexOf(tensor);
    if (at >= 0) this.live.splice(at, 1);
  }

  copied(from: Tensor, to: Tensor): void {
    const [tensor, into] = [this.numberOf(from), this.numberOf(to)];
    this.steps.push(stepOf("copy", tensor, into));
  }

  cleared(tensor: Tensor): void {
    const number = this.numberOf(tensor);
    this.steps.push(stepOf("clear", number));
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
    const numbers = program.storage.map(({ name }) => this.numberOf(bindings[name]));
    const run = { program, params: words && paramsOf(words), size, work, bindings: numbers, seeds };
    this.steps.push(stepOf("dispatch", NO_TENSOR, NO_TENSOR, null, run));
  }

  private add(tensor: Tensor): void {
    this.numbers.set(tensor, this.count++);
    this.live.push(tensor);
  }

  private numberOf(tensor: Tensor): number {
    return this.numbers.get(tensor) ?? this.viewed(tensor);
  }

  /** Notes a view of a tensor that has a number. @returns −1 if it is not clear of which one */
  private viewed(tensor: Tensor): number {
    const { shape, dtype, label, bytes, buffer, offset, block } = tensor;
    const of = this.live.filter(
      (one) => one.buffer === buffer && one.offset <= offset && offset + bytes <= one.offset + one.bytes,
    );
    if (block || buffer === null || of.length !== 1) {
      this.whole = false;
      return -1;
    }
    const made = { shape, dtype, label, bytes, kind: "activations", offset: offset - of[0].offset } as const;
    this.steps.push(stepOf("view", this.numbers.get(of[0])!, NO_TENSOR, made));
    const number = this.count++;
    this.numbers.set(tensor, number); // not among the live ones: a view of the view is one of the tensor
    return number;
  }
}
