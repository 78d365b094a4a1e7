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

/** A bind group that may turn out to be refused. */
interface Made {
  readonly gpu: Device;
  readonly program: Program;
  readonly descriptor: GPUBindGroupDescriptor;
  /** in the program's order */
  readonly tensors: readonly Tensor[];
}

/** Bind groups of each device since its last submission. They share an error scope, because a scope costs more than a group. */
const unproven = new WeakMap<GPUDevice, Made[]>();

/** Ends the error scope of the bind groups made since the last call. Call before a submission, outside any other scope. */
export function proveBindGroups(device: GPUDevice): void {
  const made = unproven.get(device);
  if (!made) return;
  unproven.delete(device);
  const found = device.popErrorScope().then((error) => (error ? refusedOf(device, made, error) : null));
  for (const gpu of new Set(made.map((one) => one.gpu))) {
    gpu.watch(found.then((refused) => (refused && (refused.of === gpu || refused.of === null) ? refused.fault : null)));
  }
}

/** Finds the first refused bind group by making them again, one by one. @returns of: null if the error is another's */
async function refusedOf(
  device: GPUDevice,
  made: readonly Made[],
  { message }: GPUError,
): Promise<{ of: Device | null; fault: GpuError }> {
  for (const { gpu, program, descriptor, tensors } of made) {
    device.pushErrorScope("validation");
    device.createBindGroup(descriptor);
    const error = await device.popErrorScope();
    if (!error) continue;
    const what = program.storage.map(({ name }, i) => `${name} = ${tensors[i].label} [${tensors[i].shape}]`);
    const fault = new GpuError(`Cannot bind ${what.join(", ")} to kernel ${program.name}: ${error.message}`);
    return { of: gpu, fault };
  }
  const names = [...new Set(made.map(({ program }) => program.name))].join(", ");
  return { of: null, fault: new GpuError(`Cannot prepare kernels ${names}: ${message}`) };
}

/** The tensors and bind groups of a plan's last use, by their numbers. */
export interface LastUse {
  readonly tensors: (Tensor | null)[];
  readonly groups: (GPUBindGroup | null)[];
}

/** Bind groups by their resources: one number per buffer range or texture, one look-up per binding. */
export class BindGroups {
  size = 0;
  private roots: Node[] = [];
  private readonly ranges = new WeakMap<GPUBuffer | GPUTexture, Map<number, Map<number, number>>>();
  private named = 0;
  private lastUses = new WeakMap<object, WeakMap<object, LastUse>>();

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

  /** The last use of a plan by what it is used for, such as one layer. Forgotten with the groups. */
  lastUse(plan: object, by: object): LastUse {
    let uses = this.lastUses.get(plan);
    if (!uses) this.lastUses.set(plan, (uses = new WeakMap()));
    let last = uses.get(by);
    if (!last) uses.set(by, (last = { tensors: [], groups: [] }));
    return last;
  }

  clear(): void {
    this.roots = [];
    this.lastUses = new WeakMap();
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
    const descriptor = { label: program.name, layout: program.layout, entries };
    let made = unproven.get(device);
    if (!made) {
      device.pushErrorScope("validation");
      unproven.set(device, (made = []));
    }
    const group = device.createBindGroup(descriptor);
    made.push({ gpu, program, descriptor, tensors: program.storage.map(({ name }) => tensors[name]) });
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

/** Whether two tensors are bound alike. */
export function boundAlike(a: Tensor | null | undefined, b: Tensor | null): boolean {
  if (!a || !b) return a === b;
  return a.buffer === b.buffer && a.offset === b.offset && a.bytes === b.bytes;
}

function next(from: Node, id: number): Node {
  let to = from.next.get(id);
  if (!to) from.next.set(id, (to = node()));
  return to;
}
