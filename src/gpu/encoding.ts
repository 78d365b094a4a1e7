import { GpuError } from "../errors.ts";
import { proveBindGroups } from "./bind-groups.ts";
import type { GpuContext } from "./context.ts";
import type { Dispatch } from "./plan.ts";
import type { MemoryKind } from "./pool.ts";
import type { Program } from "./program.ts";
import type { Recording } from "./storage.ts";
import type { DType, Tensor } from "./tensor.ts";

/** A recorded dispatch, or a copy before it. */
export type Command = Dispatch | { copy: (encoder: GPUCommandEncoder) => void };

interface Pending {
  staging: GPUBuffer;
  bytes: number;
  resolve: (data: Promise<ArrayBuffer>) => void;
}

/**
 * Commands on their way to the queue: the encoder and its pass, parameters in the uniform buffer, submissions and read-backs.
 * Long phases are submitted in parts, so that no part runs longer than drivers allow (see Pace).
 */
export abstract class Encoding implements Recording {
  readonly gpu: GpuContext;
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  /** of the pass */
  private running: Program | null = null;
  private work = 0;
  /** of a submission's work */
  private most = 0;
  private names = new Set<string>();
  protected reads: Pending[] = [];
  protected sources: GPUBuffer[] = [];
  protected captured: Command[] | null = null;
  protected readonly yielding = () => this.yieldIdle();

  constructor(gpu: GpuContext) {
    this.gpu = gpu;
  }

  abstract empty(shape: readonly number[], dtype: DType, label: string, kind?: MemoryKind): Tensor;
  abstract encode(copy: (encoder: GPUCommandEncoder) => void): void;
  abstract copy(from: Tensor, to: Tensor): void;

  protected emit({ program, group, params, size, work }: Dispatch): void {
    const { gpu } = this;
    if (params && gpu.arena.full) {
      this.flush();
      gpu.arena.reset();
    }
    const pass = this.openPass(program.name);
    if (this.running !== program) {
      pass.setPipeline(program.pipeline);
      this.names.add(program.name);
      this.running = program;
    }
    if (params) pass.setBindGroup(0, group, gpu.arena.place(params));
    else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(size[0], size[1], size[2]);
    if (gpu.profiler) this.closePass();
    this.work += work;
    if (this.work >= this.most) this.flush();
  }

  /** Records a copy, in order with the dispatches. */
  protected push(copy: (encoder: GPUCommandEncoder) => void): void {
    this.captured?.push({ copy });
    copy(this.open());
  }

  /** Submits the recorded work. Errors surface at the next `gpu.check`, `settle` or awaited read. */
  submit(): void {
    this.flush();
    this.gpu.pace.ended();
  }

  /**
   * Submits what is recorded, so that the pool can free idle buffers that it uses. Does nothing within a captured sequence,
   * whose buffers must stay until it is repeated.
   */
  yieldIdle(): void {
    if (!this.captured) this.flush();
  }

  /** Submits a part of a phase. */
  private flush(): void {
    if (!this.encoder) return;
    const { gpu } = this;
    this.closePass();
    gpu.profiler?.resolve(this.encoder);
    gpu.arena.upload();
    const names = [...this.names].join(", ");
    proveBindGroups(gpu.device);
    gpu.device.pushErrorScope("out-of-memory");
    gpu.device.pushErrorScope("validation");
    gpu.device.queue.submit([this.encoder.finish({ label: names })]);
    for (const scope of [gpu.device.popErrorScope(), gpu.device.popErrorScope()]) {
      gpu.watch(scope.then((error) => (error ? new GpuError(`Cannot run kernels ${names}: ${error.message}`) : null)));
    }
    gpu.storage.submitted(this);
    gpu.pace.submitted(this.work);
    gpu.profiler?.collect();
    for (const { staging, bytes, resolve } of this.reads) {
      const arrived = gpu.staging.read(staging, bytes).then(
        async (data) => {
          await gpu.verified(); // rejected work leaves zeros
          return data;
        },
        (error: Error) => {
          gpu.check();
          throw new GpuError(`Cannot read back the results of ${names} from ${gpu.adapterName}: ${error.message}`);
        },
      );
      resolve(arrived);
    }
    for (const source of this.sources) source.destroy();
    this.sources = [];
    this.encoder = null;
    gpu.pool.submitted();
    this.reads = [];
    this.names.clear();
    this.work = 0;
  }

  protected open(): GPUCommandEncoder {
    this.closePass();
    this.gpu.check();
    if (!this.encoder) {
      this.encoder = this.gpu.device.createCommandEncoder();
      this.most = this.gpu.pace.limit;
      this.gpu.pool.recording();
    }
    return this.encoder;
  }

  private openPass(name: string): GPUComputePassEncoder {
    if (!this.pass) {
      if (!this.encoder) this.open();
      if (this.gpu.profiler?.full) {
        this.flush();
        this.open();
      }
      const timestampWrites = this.gpu.profiler?.mark(name);
      this.pass = this.encoder!.beginComputePass(timestampWrites ? { timestampWrites } : {});
    }
    return this.pass;
  }

  private closePass(): void {
    this.pass?.end();
    this.pass = null;
    this.running = null;
  }
}
