import { GpuError, ShapeError } from "../errors.ts";
import type { GpuContext } from "./context.ts";
import { fold, type Grid, packParams, setParam } from "./dispatch.ts";
import { type Params, paramsOf } from "./params.ts";
import { type Dispatch, type Plan, PlanWriter } from "./plan.ts";
import type { MemoryKind } from "./pool.ts";
import type { Program, Shader } from "./program.ts";
import type { Recording } from "./storage.ts";
import { bufferOf, byteLength, collectBuffers, type DType, sizeOf, type Tensor } from "./tensor.ts";

/** A recorded dispatch, or a copy before it. */
type Command = Dispatch | { copy: (encoder: GPUCommandEncoder) => void };

/** A sequence recorded by `capture`. */
interface Sequence {
  readonly commands: readonly Command[];
}

interface Pending {
  staging: GPUBuffer;
  bytes: number;
  resolve: (data: Promise<ArrayBuffer>) => void;
}

/**
 * Collects dispatches into one command encoder. Kernels record here and never submit; the owner of a phase calls
 * `submit`. Long phases are submitted in parts, so that no part runs longer than drivers allow (see Pace).
 */
export class Recorder implements Recording {
  readonly gpu: GpuContext;
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  /** of the pass */
  private running: Program | null = null;
  private work = 0;
  private names = new Set<string>();
  private reads: Pending[] = [];
  private scopes: Tensor[][] = [];
  private sources: GPUBuffer[] = [];
  private captured: Command[] | null = null;
  private writer: PlanWriter | null = null;
  /** tensors of the plan being followed */
  private readonly held: (Tensor | null)[] = [];
  private readonly yielding = () => this.yieldIdle();

  constructor(gpu: GpuContext) {
    this.gpu = gpu;
  }

  /** A tensor of the pool with undefined content; released by the enclosing `scope`, or by `release`. */
  empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "activations"): Tensor {
    const bytes = byteLength(sizeOf(shape), dtype);
    const block = this.gpu.pool.take(bytes, kind, label, false, this.yielding);
    const { memory: buffer, lease } = block;
    const tensor: Tensor = { label, shape, dtype, buffer, offset: 0, bytes, block, lease };
    this.scopes.at(-1)?.push(tensor);
    this.writer?.made(tensor, kind);
    return tensor;
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "activations"): Tensor {
    const tensor = this.empty(shape, dtype, label, kind);
    this.clear(tensor);
    return tensor;
  }

  /**
   * A tensor with initial values. The copy is recorded in order: commands before it still see the old content of a
   * reused buffer. For a step's inputs, not for weights.
   */
  upload(data: Uint32Array | Float32Array, shape: readonly number[], label: string): Tensor {
    this.refuse(`upload ${label}`);
    const tensor = this.empty(shape, data instanceof Float32Array ? "f32" : "u32", label, "input");
    const from = this.gpu.device.createBuffer({ label, size: tensor.bytes, usage: 0x04, mappedAtCreation: true }); // COPY_SRC
    new Uint32Array(from.getMappedRange()).set(new Uint32Array(data.buffer, data.byteOffset, data.length));
    from.unmap();
    const to = bufferOf(tensor);
    this.gpu.storage.written(to);
    this.open().copyBufferToBuffer(from, 0, to, tensor.offset, tensor.bytes);
    this.sources.push(from);
    return tensor;
  }

  /**
   * Releases tensors to the pool; recorded commands may still use them. Views are ignored, and so is a tensor that was released
   * before, as long as its memory is free.
   *
   * @throws {ShapeError} a tensor that was released before and whose memory is another tensor's by now
   */
  release(...tensors: (Tensor | null | undefined)[]): void {
    for (const tensor of tensors) {
      if (!tensor?.block || tensor.block.free) continue;
      const { block, lease = block.lease, label } = tensor;
      if (lease !== block.lease) {
        throw new ShapeError(
          `Cannot release ${label} [${tensor.shape}] twice: its memory is that of ${block.label} now; release a tensor once, after its last use`,
        );
      }
      this.writer?.freed(tensor);
      for (const scope of this.scopes) {
        const at = scope.findIndex((made) => made.block === tensor.block);
        if (at >= 0) scope.splice(at, 1);
      }
      this.gpu.pool.give(tensor.block);
    }
  }

  /**
   * Runs `body` and releases every tensor made in it, except those in its result (a tensor, or an object or array of them). A view in
   * the result keeps the tensor that it is a view of, until the enclosing scope ends.
   */
  scope<T>(body: () => T): T {
    const made: Tensor[] = [];
    this.scopes.push(made);
    try {
      const result = body();
      const kept = new Set<unknown>();
      collectBuffers(result, kept);
      this.scopes.pop();
      for (const tensor of made) {
        if (kept.has(tensor.buffer)) this.scopes.at(-1)?.push(tensor);
        else {
          this.writer?.freed(tensor);
          this.gpu.pool.give(tensor.block!);
        }
      }
      return result;
    } catch (error) {
      if (this.scopes.at(-1) === made) this.scopes.pop();
      for (const tensor of made) this.gpu.pool.give(tensor.block!);
      throw error;
    }
  }

  /**
   * Records `body`, and keeps the recording for `repeat`: a pass that repeats with the same buffers is then encoded
   * from a list, without resolving the tensors, shapes and variants of its kernels again.
   *
   * @throws {ShapeError} `body` uploads or reads back
   */
  capture<T>(body: () => T): { result: T; sequence: Sequence } {
    const commands: Command[] = [];
    this.gpu.storage.captured();
    this.captured = commands;
    this.gpu.pool.recording();
    try {
      return { result: body(), sequence: { commands } };
    } finally {
      this.captured = null;
      this.gpu.pool.submitted();
    }
  }

  /**
   * Records a captured sequence again. All its tensors must still be valid; tensors created inside the sequence may
   * have been released, if nothing was allocated since.
   *
   * @param changed new values of parameters, by name, for every kernel that has them
   */
  repeat({ commands }: Sequence, changed: Record<string, number> = {}): void {
    for (const command of commands) {
      if ("copy" in command) {
        command.copy(this.open());
        continue;
      }
      let own: Params | null = null;
      for (const name in changed) {
        const at = command.program.fields.get(name);
        if (at === undefined) continue;
        own ??= paramsOf(command.params!.words.slice());
        setParam(own.words, at, command.program.params[at].type, changed[name]);
      }
      this.emit(own ? { ...command, params: own } : command);
    }
  }

  /**
   * Records `body`, and notes what it records, for `follow`.
   *
   * @param given tensors that `body` uses and that later uses replace
   * @param seeds values of its `seed…` parameters that later uses replace
   * @returns null if `body` does more than a plan can say: it copies, or binds views
   */
  plan(given: readonly (Tensor | null)[], seeds: readonly number[], body: () => void): Plan | null {
    const writer = new PlanWriter(given, seeds);
    this.writer = writer;
    try {
      body();
    } finally {
      this.writer = null;
    }
    return writer.plan;
  }

  /** Whether a plan is being noted. */
  get planning(): boolean {
    return this.writer !== null;
  }

  /** Records a plan with other tensors and seeds: shapes, types and aliases as when it was made. */
  follow(plan: Plan, given: readonly (Tensor | null)[], seeds: readonly number[]): void {
    const { held, gpu } = this;
    held.length = 0;
    for (const tensor of given) held.push(tensor);
    for (const step of plan) {
      if (step.kind === "make") held.push(this.empty(step.shape, step.dtype, step.label, step.memory));
      else if (step.kind === "free") this.release(held[step.tensor]);
      else {
        const { program, params, size, work } = step;
        for (const { word, value } of step.seeds) {
          params!.words[word] = seeds[value];
          params!.era = -1;
        }
        const group = gpu.bindGroups.byNumber(gpu, program, held, step.bindings);
        const command = { program, group, params, size, work };
        this.captured?.push({ ...command, params: params && paramsOf(params.words.slice()) });
        this.emit(command);
      }
    }
  }

  private refuse(what: string): void {
    this.writer?.refuse();
    if (this.captured) throw new ShapeError(`Cannot ${what} inside a captured sequence`);
  }

  /**
   * Records one dispatch.
   *
   * @param bindings tensors by the names of the kernel's storage variables
   * @param params scalars by the names of its `struct Params`
   * @param work rough number of arithmetic operations: decides where a long phase is split
   * @throws {ShapeError} a missing or unknown name; a buffer bound both for reading and writing
   */
  dispatch<V extends object>(
    shader: Shader<V>,
    variant: Omit<V, "subgroups"> & { subgroups?: boolean },
    bindings: Record<string, Tensor>,
    params: Record<string, number>,
    grid: Grid,
    work = 0,
  ): void {
    const { gpu } = this;
    const program = gpu.programs.get(shader as Shader, variant);
    const size = fold(grid, gpu.limits.maxComputeWorkgroupsPerDimension, program.name);
    if (size[0] * size[1] * size[2] === 0) return;
    const { tensors, textures, spilled } = gpu.storage.bind(program.storage, bindings, this);
    const group = gpu.bindGroups.byName(gpu, program, tensors, textures);
    const packed = packParams(program, params);
    let effort = work;
    if (effort <= 0) for (const name in bindings) effort += bindings[name].bytes;
    const command = { program, group, params: packed, size, work: effort };
    this.captured?.push({ ...command, params: packed && paramsOf(packed.words.slice()) });
    this.writer?.dispatched(command, bindings);
    this.emit(command);
    if (spilled.length > 0) this.release(...spilled);
  }

  private emit({ program, group, params, size, work }: Dispatch): void {
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
    if (this.work >= gpu.pace.limit) this.flush();
  }

  /** Records a copy, in order with the dispatches. */
  encode(copy: (encoder: GPUCommandEncoder) => void): void {
    this.writer?.refuse();
    this.captured?.push({ copy });
    copy(this.open());
  }

  /** Fills a tensor with zero bytes. */
  clear(tensor: Tensor): void {
    const { offset, bytes } = tensor;
    const buffer = bufferOf(tensor);
    this.gpu.storage.written(buffer);
    this.encode((encoder) => encoder.clearBuffer(buffer, offset, bytes));
  }

  /** Copies all bytes of `from` to the start of `to`; the buffers must differ. */
  copy(from: Tensor, to: Tensor): void {
    if (from.bytes > to.bytes) {
      throw new ShapeError(`Cannot copy ${from.label} (${from.bytes} bytes) into ${to.label} (${to.bytes} bytes)`);
    }
    const buffer = bufferOf(to);
    this.gpu.storage.written(buffer);
    this.encode((encoder) => this.gpu.storage.copyOut(encoder, from, buffer, to.offset));
  }

  /** Reads a tensor's bytes back after this recording was submitted and has run. Does not submit. */
  read(tensor: Tensor): Promise<ArrayBuffer> {
    this.refuse(`read ${tensor.label}`);
    const staging = this.gpu.staging.take(tensor.bytes);
    this.gpu.storage.copyOut(this.open(), tensor, staging, 0);
    const data = new Promise<ArrayBuffer>((resolve) => this.reads.push({ staging, bytes: tensor.bytes, resolve }));
    data.catch(() => {}); // awaiting it shows the error; an unawaited read must not end the process
    return data;
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

  private open(): GPUCommandEncoder {
    this.closePass();
    this.gpu.check();
    if (!this.encoder) {
      this.encoder = this.gpu.device.createCommandEncoder();
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
