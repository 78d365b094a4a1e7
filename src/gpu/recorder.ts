import { ShapeError } from "../errors.ts";
import { fold, type Grid, packParams, setParam } from "./dispatch.ts";
import { type Command, Encoding } from "./encoding.ts";
import { type Params, paramsOf } from "./params.ts";
import { type Plan, PlanWriter, type Step } from "./plan.ts";
import { PlanUse, viewOf } from "./plan-use.ts";
import type { MemoryKind } from "./pool.ts";
import type { Shader } from "./program.ts";
import { bufferOf, byteLength, collectBuffers, type DType, sizeOf, type Tensor } from "./tensor.ts";

/** A sequence recorded by `capture`. */
interface Sequence {
  readonly commands: readonly Command[];
}

/** Of tensors that a rehearsal hands out and nothing uses. */
const NO_BUFFER = {} as GPUBuffer;

/**
 * Collects dispatches into one command encoder. Kernels record here and never submit; the owner of a phase calls
 * `submit`.
 */
export class Recorder extends Encoding {
  private scopes: Tensor[][] = [];
  private writer: PlanWriter | null = null;
  /** tensors that `rehearse` hands out, in order; null: the recorder records */
  private rehearsed: Tensor[] | null = null;

  /** A tensor of the pool with undefined content; released by the enclosing `scope`, or by `release`. */
  empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "activations"): Tensor {
    if (this.rehearsed) return this.rehearsed.shift()!;
    const tensor = this.make(shape, dtype, label, kind, byteLength(sizeOf(shape), dtype));
    this.scopes.at(-1)?.push(tensor);
    this.writer?.made(tensor, kind);
    return tensor;
  }

  private make(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind, bytes: number): Tensor {
    const block = this.gpu.pool.take(bytes, kind, label, false, this.yielding);
    return { label, shape, dtype, buffer: block.memory, offset: 0, bytes, block, lease: block.lease };
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "activations"): Tensor {
    const tensor = this.empty(shape, dtype, label, kind);
    this.clear(tensor);
    return tensor;
  }

  /**
   * A tensor with initial values. They arrive in order: commands before it still see the old content of a reused buffer. For a
   * step's inputs, not for weights.
   */
  upload(data: Uint32Array | Float32Array, shape: readonly number[], label: string): Tensor {
    this.refuse(`upload ${label}`);
    const tensor = this.empty(shape, data instanceof Float32Array ? "f32" : "u32", label, "input");
    const { device, storage } = this.gpu;
    const to = bufferOf(tensor);
    storage.written(to);
    const words = new Uint32Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
    if (!tensor.block!.awaited) {
      device.queue.writeBuffer(to, tensor.offset, words);
      return tensor;
    }
    const from = device.createBuffer({ label, size: tensor.bytes, usage: 0x04, mappedAtCreation: true }); // COPY_SRC
    new Uint32Array(from.getMappedRange()).set(words);
    from.unmap();
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
    if (this.rehearsed) return;
    for (const tensor of tensors) {
      if (!tensor?.block || tensor.block.free) continue;
      const { block, lease = block.lease, label } = tensor;
      if (lease !== block.lease) {
        throw new ShapeError(
          `Cannot release ${label} [${tensor.shape}] twice: its memory is that of ${block.label} now; release a tensor once, after its last use`,
        );
      }
      this.writer?.freed(tensor);
      this.leaveScope(block);
      this.gpu.pool.give(tensor.block);
    }
  }

  /** Takes a block's tensor out of its scope: most likely one that was made of late. */
  private leaveScope(block: Tensor["block"]): void {
    for (let s = this.scopes.length - 1; s >= 0; s--) {
      const scope = this.scopes[s];
      for (let i = scope.length - 1; i >= 0; i--) {
        if (scope[i].block !== block) continue;
        scope.splice(i, 1);
        return;
      }
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
   * @param body returns what `follow` shall return: given tensors, and tensors that it made and did not release
   * @returns null if `body` does more than a plan can say: it uploads, reads back, records a copy of its own, or uses other tensors
   */
  plan(
    given: readonly (Tensor | null)[],
    seeds: readonly number[],
    body: () => readonly (Tensor | null)[],
  ): Plan | null {
    const writer = new PlanWriter(given, seeds);
    this.writer = writer;
    try {
      writer.returned(body());
    } finally {
      this.writer = null;
    }
    return writer.plan;
  }

  /** Whether a plan is being noted, or rehearsed. */
  get planning(): boolean {
    return this.writer !== null || this.rehearsed !== null;
  }

  /**
   * Records a plan with other tensors and seeds: shapes, types and aliases as when it was made.
   *
   * @param by what the plan is used for, such as one layer: its bind groups are those of its last use, where its buffers are
   * @returns the plan's results. The enclosing scope has those that the plan made
   */
  follow(
    plan: Plan,
    given: readonly (Tensor | null)[],
    seeds: readonly number[],
    by: object | null = null,
  ): (Tensor | null)[] {
    const use = new PlanUse(this.gpu, plan, given, by);
    const { held } = use;
    let done = false;
    try {
      const { steps } = plan;
      for (let i = 0; i < steps.length; i++) {
        const { op, tensor, to, made, run } = steps[i];
        if (op === "dispatch") this.followDispatch(run!, use, seeds);
        else if (op === "make") use.add(this.make(made!.shape, made!.dtype, made!.label, made!.kind, made!.bytes));
        else if (op === "free") {
          const old = held[tensor]!;
          if (tensor < plan.given) this.release(old);
          else this.gpu.pool.give(old.block!);
          held[tensor] = null;
        } else if (op === "copy") this.copy(held[tensor]!, held[to]!);
        else if (op === "clear") this.clear(held[tensor]!);
        else use.add(viewOf(held[tensor]!, made!));
      }
      done = true;
    } finally {
      if (!done) use.forget();
      const scope = this.scopes.at(-1);
      for (let i = plan.given; scope && i < held.length; i++) {
        const left = held[i];
        if (left?.block) scope.push(left);
      }
    }
    return use.results();
  }

  private followDispatch(run: NonNullable<Step["run"]>, use: PlanUse, seeds: readonly number[]): void {
    const { program, params, size, work, seeds: changed } = run;
    for (const { word, value } of changed) {
      params!.words[word] = seeds[value];
      params!.era = -1;
    }
    const command = { program, group: use.groupOf(run), params, size, work };
    this.captured?.push({ ...command, params: params && paramsOf(params.words.slice()) });
    this.emit(command);
  }

  /**
   * Runs `body` without recording anything: for what else it returns, after a plan of it was followed. Its tensors are those results
   * of `follow` that are still in use; all others have no memory.
   *
   * @param results of `follow`
   */
  rehearse<T>(plan: Plan, results: readonly (Tensor | null)[], body: () => T): T {
    const kept = new Map(plan.results.map((number, i) => [number, results[i]]));
    let number = plan.given;
    const tensors: Tensor[] = [];
    for (const { op, made } of plan.steps) {
      if (op !== "make" && op !== "view") continue;
      if (op === "make") tensors.push(kept.get(number) ?? { ...made!, buffer: NO_BUFFER, offset: 0, block: null });
      number++;
    }
    this.rehearsed = tensors;
    try {
      return body();
    } finally {
      this.rehearsed = null;
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
    if (this.rehearsed) return;
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

  /** Records a copy, in order with the dispatches. */
  encode(copy: (encoder: GPUCommandEncoder) => void): void {
    this.writer?.refuse();
    if (!this.rehearsed) this.push(copy);
  }

  /** Fills a tensor with zero bytes. */
  clear(tensor: Tensor): void {
    if (this.rehearsed) return;
    const { offset, bytes } = tensor;
    const buffer = bufferOf(tensor);
    this.gpu.storage.written(buffer);
    this.writer?.cleared(tensor);
    this.push((encoder) => encoder.clearBuffer(buffer, offset, bytes));
  }

  /** Copies all bytes of `from` to the start of `to`; the buffers must differ. */
  copy(from: Tensor, to: Tensor): void {
    if (from.bytes > to.bytes) {
      throw new ShapeError(`Cannot copy ${from.label} (${from.bytes} bytes) into ${to.label} (${to.bytes} bytes)`);
    }
    if (this.rehearsed) return;
    const buffer = bufferOf(to);
    this.gpu.storage.written(buffer);
    this.writer?.copied(from, to);
    this.push((encoder) => this.gpu.storage.copyOut(encoder, from, buffer, to.offset));
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
}
