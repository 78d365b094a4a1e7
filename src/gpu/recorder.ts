import { GpuError, ShapeError } from "../errors.ts";
import type { GpuContext } from "./context.ts";
import { checkBindings, fold, type Grid, packParams, setParam } from "./dispatch.ts";
import type { MemoryKind } from "./pool.ts";
import type { Program, Shader } from "./program.ts";
import { isTextureLayout, type Recording, TEXTURE_VIEWS } from "./storage.ts";
import { bufferOf, byteLength, type DType, sizeOf, type Tensor } from "./tensor.ts";

/** A recorded dispatch, or a copy before it. */
type Command =
  | {
      program: Program;
      group: GPUBindGroup;
      words: Uint32Array | null;
      size: readonly [number, number, number];
      work: number;
    }
  | { copy: (encoder: GPUCommandEncoder) => void };

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

  constructor(gpu: GpuContext) {
    this.gpu = gpu;
  }

  /** A tensor of the pool with undefined content; released by the enclosing `scope`, or by `release`. */
  empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "activations"): Tensor {
    const bytes = byteLength(sizeOf(shape), dtype);
    const block = this.gpu.pool.take(bytes, kind, label);
    const { memory: buffer, lease } = block;
    const tensor: Tensor = { label, shape, dtype, buffer, offset: 0, bytes, block, lease };
    this.scopes.at(-1)?.push(tensor);
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
      collect(result, kept);
      this.scopes.pop();
      for (const tensor of made) {
        if (kept.has(tensor.buffer)) this.scopes.at(-1)?.push(tensor);
        else this.gpu.pool.give(tensor.block!);
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
    try {
      return { result: body(), sequence: { commands } };
    } finally {
      this.captured = null;
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
      const { program, words } = command;
      const at = program.params.findIndex(({ name }) => name in changed);
      if (at < 0) {
        this.emit(command);
        continue;
      }
      const own = words!.slice();
      program.params.forEach(({ name, type }, i) => {
        if (name in changed) setParam(own, i, type, changed[name]);
      });
      this.emit({ ...command, words: own });
    }
  }

  private refuse(what: string): void {
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
    const group = this.bindGroup(program, tensors, textures);
    const words = packParams(program, params);
    let effort = work;
    if (effort <= 0) for (const name in bindings) effort += bindings[name].bytes;
    const command = { program, group, words, size, work: effort };
    this.captured?.push({ ...command, words: words?.slice() ?? null });
    this.emit(command);
    if (spilled.length > 0) this.release(...spilled);
  }

  private emit({ program, group, words, size, work }: Exclude<Command, { copy: unknown }>): void {
    const { gpu } = this;
    if (words && gpu.arena.full) {
      this.flush();
      gpu.arena.reset();
    }
    const pass = this.openPass(program.name);
    if (this.running !== program) {
      pass.setPipeline(program.pipeline);
      this.names.add(program.name);
      this.running = program;
    }
    if (words) pass.setBindGroup(0, group, [gpu.arena.place(words)]);
    else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(size[0], size[1], size[2]);
    if (gpu.profiler) this.closePass();
    this.work += work;
    if (this.work >= gpu.pace.limit) this.flush();
  }

  /** Records a copy, in order with the dispatches. */
  encode(copy: (encoder: GPUCommandEncoder) => void): void {
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
    this.reads = [];
    this.names.clear();
    this.work = 0;
  }

  private open(): GPUCommandEncoder {
    this.closePass();
    this.gpu.check();
    this.encoder ??= this.gpu.device.createCommandEncoder();
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

  private bindGroup(
    program: Program,
    bindings: Record<string, Tensor>,
    textures: ReadonlyMap<string, GPUTexture> | null,
  ): GPUBindGroup {
    const { gpu } = this;
    const place = gpu.bindGroups.place(program, bindings, textures);
    if (!place) {
      throw new ShapeError(
        `Cannot dispatch ${program.name}: it binds ${program.storage.map((b) => b.name)}, got ${Object.keys(bindings)}`,
      );
    }
    if (place.group) return place.group;
    checkBindings(program, bindings, gpu.limits.maxStorageBufferBindingSize);
    const entries: GPUBindGroupEntry[] = program.storage.map(({ name, slot, kind }) => {
      const texture = textures?.get(name);
      if (texture && isTextureLayout(kind)) {
        return { binding: slot, resource: texture.createView({ dimension: TEXTURE_VIEWS[kind] }) };
      }
      const { offset, bytes } = bindings[name];
      return { binding: slot, resource: { buffer: bufferOf(bindings[name]), offset, size: bytes } };
    });
    if (program.uniform >= 0) {
      entries.push({ binding: program.uniform, resource: { buffer: gpu.arena.buffer, size: gpu.arena.slotBytes } });
    }
    gpu.device.pushErrorScope("validation");
    const group = gpu.device.createBindGroup({ label: program.name, layout: program.layout, entries });
    const what = program.storage.map(({ name }) => `${name} = ${bindings[name].label} [${bindings[name].shape}]`);
    gpu.watch(
      gpu.device
        .popErrorScope()
        .then((error) =>
          error ? new GpuError(`Cannot bind ${what.join(", ")} to kernel ${program.name}: ${error.message}`) : null,
        ),
    );
    gpu.bindGroups.keep(place, group);
    return group;
  }
}

function collect(value: unknown, into: Set<unknown>): void {
  if (value === null || typeof value !== "object") return;
  if ("buffer" in value && "block" in value) into.add((value as Tensor).buffer);
  else if (Object.getPrototypeOf(value) === Object.prototype || Array.isArray(value)) {
    for (const item of Object.values(value)) collect(item, into);
  }
}
