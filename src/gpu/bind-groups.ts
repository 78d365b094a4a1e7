import type { Program } from "./program.ts";
import { bufferOf, type Tensor } from "./tensor.ts";

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

  /** The cache entry for a dispatch's group; `null` if a binding has no tensor. */
  place(
    program: Program,
    tensors: Record<string, Tensor>,
    textures: ReadonlyMap<string, GPUTexture> | null,
  ): Node | null {
    let at = (this.roots[program.id] ??= node());
    for (const { name } of program.storage) {
      const tensor = tensors[name];
      if (!tensor) return null;
      const texture = textures?.get(name);
      const id = texture ? this.range(texture, 0, 0) : this.range(bufferOf(tensor), tensor.offset, tensor.bytes);
      let next = at.next.get(id);
      if (!next) at.next.set(id, (next = node()));
      at = next;
    }
    return at;
  }

  keep(place: Node, group: GPUBindGroup): void {
    place.group = group;
    this.size++;
  }

  clear(): void {
    this.roots = [];
    this.size = 0;
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
