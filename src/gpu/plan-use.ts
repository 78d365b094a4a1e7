import { boundAlike, type LastUse } from "./bind-groups.ts";
import type { GpuContext } from "./context.ts";
import type { Plan, Step } from "./plan.ts";
import type { Tensor } from "./tensor.ts";

/** The tensors of a plan that is being followed, and its bind groups. */
export class PlanUse {
  /** by number; null: none, or freed */
  readonly held: (Tensor | null)[];
  private readonly gpu: GpuContext;
  private readonly plan: Plan;
  private readonly last: LastUse | null;
  /** tensors that are bound like those of the last use; a dispatch with others looks its group up */
  private readonly alike: boolean[] = [];
  private allAlike = true;
  private dispatches = 0;

  constructor(gpu: GpuContext, plan: Plan, given: readonly (Tensor | null)[], by: object | null) {
    this.gpu = gpu;
    this.plan = plan;
    this.last = by && gpu.bindGroups.lastUse(plan, by);
    this.held = given.slice();
    if (this.last) for (let i = 0; i < given.length; i++) this.compare(i, given[i]);
  }

  add(tensor: Tensor): void {
    if (this.last) this.compare(this.held.length, tensor);
    this.held.push(tensor);
  }

  /** The bind group of the next dispatch. */
  groupOf({ program, bindings }: NonNullable<Step["run"]>): GPUBindGroup {
    const { gpu, held, last } = this;
    const known = last?.groups[this.dispatches];
    if (known && (this.allAlike || this.areAlike(bindings))) {
      this.dispatches++;
      return known;
    }
    const group = gpu.bindGroups.byNumber(gpu, program, held, bindings);
    if (last) last.groups[this.dispatches++] = group;
    return group;
  }

  results(): (Tensor | null)[] {
    return this.plan.results.map((number) => (number < 0 ? null : this.held[number]));
  }

  /** Call where the plan was not followed to its end: later dispatches have groups of earlier tensors. */
  forget(): void {
    if (this.last) this.last.groups.length = 0;
  }

  private compare(number: number, tensor: Tensor | null): void {
    const { tensors } = this.last!;
    const alike = boundAlike(tensors[number], tensor);
    this.alike.push(alike);
    if (alike) return;
    this.allAlike = false;
    tensors[number] = tensor;
  }

  private areAlike(bindings: readonly number[]): boolean {
    for (let i = 0; i < bindings.length; i++) if (!this.alike[bindings[i]]) return false;
    return true;
  }
}

/** A view that a plan makes. */
export function viewOf(of: Tensor, { shape, dtype, label, bytes, offset }: NonNullable<Step["made"]>): Tensor {
  return { label, shape, dtype, buffer: of.buffer, offset: of.offset + offset, bytes, block: null };
}
