import { GpuError, ShapeError } from "../errors.ts";
import type { UniformArena } from "./arena.ts";
import { checkBindings } from "./dispatch.ts";
import type { Program } from "./program.ts";
import { isTextureLayout, TEXTURE_VIEWS } from "./storage.ts";
import { bufferOf, type Tensor } from "./tensor.ts";

/** The parts of a device that bind groups need. */
interface Device {
  readonly device: GPUDevice;
  readonly limits: Pick<GPUSupportedLimits, "maxStorageBufferBindingSize">;
  readonly arena: UniformArena;
  watch(fault: Promise<GpuError | null>): void;
}

/** A node in the tree of bound resources. */
interface Node {
  group: GPUBindGroup | null;
  readonly next: Map<number, Node>;
}

const node = (): Node => ({ group: null, next: new Map() });

/** Bind groups by their resources: one number per buffer range or texture, one look-up per binding. */
export class BindGroups {
  size = 0;
  private roots: Node[] = [];
  private readonly ranges = new WeakMap<GPUBuffer | GPUTexture, Map<number, Map<number, number>>>();
  private named = 0;

  /**
   * The group of a dispatch.
   *
   * @param textures for slots declared as textures
   * @throws {ShapeError} a binding has no tensor, or there is no binding for a tensor
   */
  byName(
    gpu: Device,
    program: Program,
    tensors: Readonly<Record<string, Tensor>>,
    textures: ReadonlyMap<string, GPUTexture> | null,
  ): GPUBindGroup {
    let at = this.root(program);
    for (const { name } of program.storage) {
      const tensor = tensors[name];
      if (!tensor) {
        throw new ShapeError(
          `Cannot dispatch ${program.name}: it binds ${program.storage.map((b) => b.name)}, got ${Object.keys(tensors)}`,
        );
      }
      const texture = textures?.get(name);
      at = next(at, texture ? this.range(texture, 0, 0) : this.range(bufferOf(tensor), tensor.offset, tensor.bytes));
    }
    return at.group ?? this.make(gpu, at, program, tensors, textures);
  }

  /** The group of a dispatch whose bindings, in the program's order, are numbers of tensors. */
  byNumber(
    gpu: Device,
    program: Program,
    tensors: readonly (Tensor | null)[],
    bindings: readonly number[],
  ): GPUBindGroup {
    let at = this.root(program);
    for (let i = 0; i < bindings.length; i++) {
      const tensor = tensors[bindings[i]]!;
      at = next(at, this.range(bufferOf(tensor), tensor.offset, tensor.bytes));
    }
    if (at.group) return at.group;
    const named = Object.fromEntries(program.storage.map(({ name }, i) => [name, tensors[bindings[i]]!]));
    return this.make(gpu, at, program, named, null);
  }

  clear(): void {
    this.roots = [];
    this.size = 0;
  }

  private root({ id }: Program): Node {
    return (this.roots[id] ??= node());
  }

  private make(
    gpu: Device,
    place: Node,
    program: Program,
    tensors: Readonly<Record<string, Tensor>>,
    textures: ReadonlyMap<string, GPUTexture> | null,
  ): GPUBindGroup {
    const { device, arena, limits } = gpu;
    checkBindings(program, tensors, limits.maxStorageBufferBindingSize);
    const entries: GPUBindGroupEntry[] = program.storage.map(({ name, slot, kind }) => {
      const texture = textures?.get(name);
      if (texture && isTextureLayout(kind)) {
        return { binding: slot, resource: texture.createView({ dimension: TEXTURE_VIEWS[kind] }) };
      }
      const { offset, bytes } = tensors[name];
      return { binding: slot, resource: { buffer: bufferOf(tensors[name]), offset, size: bytes } };
    });
    if (program.uniform >= 0)
      entries.push({ binding: program.uniform, resource: { buffer: arena.buffer, size: arena.slotBytes } });
    device.pushErrorScope("validation");
    const group = device.createBindGroup({ label: program.name, layout: program.layout, entries });
    const what = program.storage.map(({ name }) => `${name} = ${tensors[name].label} [${tensors[name].shape}]`);
    const fault = (error: GPUError | null) =>
      error ? new GpuError(`Cannot bind ${what.join(", ")} to kernel ${program.name}: ${error.message}`) : null;
    gpu.watch(device.popErrorScope().then(fault));
    place.group = group;
    this.size++;
    return group;
  }

  private range(of: GPUBuffer | GPUTexture, offset: number, bytes: number): number {
    let offsets = this.ranges.get(of);
    if (!offsets) this.ranges.set(of, (offsets = new Map()));
    let lengths = offsets.get(offset);
    if (!lengths) offsets.set(offset, (lengths = new Map()));
    let id = lengths.get(bytes);
    if (id === undefined) lengths.set(bytes, (id = this.named++));
    return id;
  }
}

function next(from: Node, id: number): Node {
  let to = from.next.get(id);
  if (!to) from.next.set(id, (to = node()));
  return to;
}
