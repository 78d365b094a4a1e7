import { type Block, type MemoryKind, type Pool, sizeClass } from "./pool.ts";
import type { Tensor } from "./tensor.ts";

/** Bytes of a texel of format rgba32uint. */
const TEXEL = 16;
/** Bytes of a texture's row of 4096 texels: texel i lies at (i & 4095, i >> 12). */
const ROW = 4096 * TEXEL;
/** Textures that hold activations for a while, and bytes that one may have. */
const SCRATCH = 4;
const MOST = 64 << 20;

/** A texture that has a copy of part of a buffer. */
interface Copy {
  readonly texture: GPUTexture;
  /** bytes that it has room for */
  readonly size: number;
  /** what it holds; null: nothing of use */
  buffer: GPUBuffer | null;
  offset: number;
  bytes: number;
  /** the recording that copied it and was not submitted yet */
  by: object | null;
  /** when it was last asked for */
  used: number;
}

/**
 * Copies of tensors in textures, for kernels that read 16 bytes at a time: Mesa's software adapter loads eight lanes'
 * texels in some 50 instructions where eight lanes' vec4 of a storage buffer take 270. Weights keep theirs as long as they
 * live, up to a budget, the first that are asked for; what else is read gets one of a few that are used again.
 */
export class Texels {
  private readonly device: GPUDevice;
  private readonly pool: Pool;
  private readonly kept = new Map<Block, Copy>();
  private readonly scratch: Copy[] = [];
  private retired: Copy[] = [];
  private readonly pending = new WeakMap<object, Set<Copy>>();
  private clock = 0;
  private readonly budget: number;
  /** bytes of `kept` */
  private held = 0;

  /** @param budget bytes that weights' copies may take */
  constructor(device: GPUDevice, pool: Pool, budget: number) {
    this.device = device;
    this.pool = pool;
    this.budget = budget;
    pool.onDrop = (block) => this.drop(block);
    pool.onTrim = () => this.trim();
  }

  /** Whether a tensor can be copied: whole texels, in a texture that the device can have. */
  takes(tensor: Tensor): boolean {
    const { offset, bytes } = tensor;
    const most = this.keeps(tensor) ? ROW * (this.device.limits.maxTextureDimension2D ?? 8192) : MOST;
    return offset % TEXEL === 0 && bytes % TEXEL === 0 && bytes <= most;
  }

  /** Whether a tensor's copy is made once and stays. */
  keeps({ block, offset, bytes }: Tensor): boolean {
    if (block?.kind !== "weights" || offset !== 0) return false;
    return this.kept.has(block) || this.held + sizeOf(bytes) <= this.budget;
  }

  /**
   * The texture with a tensor's content: texel 0 is its first. Records a copy where none is at hand.
   *
   * @param by the recording that asks
   * @param open its encoder, outside of any pass
   */
  of(tensor: Tensor, by: object, open: () => GPUCommandEncoder): GPUTexture {
    const copy = this.keeps(tensor) ? this.keep(tensor.block!, tensor.bytes) : this.borrow(tensor);
    copy.used = ++this.clock;
    if (holds(copy, tensor) && (copy.by === null || copy.by === by)) return copy.texture;
    const { buffer, offset, bytes } = tensor;
    const encoder = open();
    const whole = Math.floor(bytes / ROW);
    const rest = (bytes % ROW) / TEXEL;
    const to = { texture: copy.texture };
    if (whole > 0) encoder.copyBufferToTexture({ buffer, offset, bytesPerRow: ROW }, to, [ROW / TEXEL, whole]);
    if (rest > 0)
      encoder.copyBufferToTexture({ buffer, offset: offset + whole * ROW }, { ...to, origin: [0, whole] }, [rest, 1]);
    Object.assign(copy, { buffer, offset, bytes, by });
    const pending = this.pending.get(by);
    if (pending) pending.add(copy);
    else this.pending.set(by, new Set([copy]));
    return copy.texture;
  }

  /** A recording was submitted: its copies hold for others too, except where another has recorded one to the same place. */
  submitted(by: object): void {
    for (const copy of this.pending.get(by) ?? []) {
      if (copy.by !== by) copy.buffer = null;
      copy.by = null;
    }
    this.pending.delete(by);
  }

  /** Forgets what was copied of a buffer that is written. */
  wrote(buffer: GPUBuffer): void {
    for (const copy of this.scratch) if (copy.buffer === buffer) copy.buffer = null;
    for (const copy of this.kept.values()) if (copy.buffer === buffer) copy.buffer = null;
  }

  /** Frees scratch that was outgrown. What was recorded with it must have been submitted. */
  endStep(): void {
    for (const copy of this.retired) this.free(copy, "scratch");
    this.retired = [];
  }

  private trim(): void {
    this.retired.push(...this.scratch.splice(0));
    this.endStep();
  }

  private drop(block: Block): void {
    this.wrote(block.buffer);
    const copy = this.kept.get(block);
    if (!copy) return;
    this.kept.delete(block);
    this.held -= copy.size;
    this.free(copy, block.kind);
  }

  private keep(block: Block, bytes: number): Copy {
    let copy = this.kept.get(block);
    if (!copy) {
      copy = this.make(bytes, block.kind, block.label);
      this.kept.set(block, copy);
      this.held += copy.size;
    }
    return copy;
  }

  private borrow(tensor: Tensor): Copy {
    const found = this.scratch.find((copy) => holds(copy, tensor));
    if (found) return found;
    if (this.scratch.length === SCRATCH) {
      // the latest may be the other operand of the same kernel
      const byAge = [...this.scratch].sort((a, b) => a.used - b.used);
      const fit = byAge.slice(0, -1).find(({ size }) => size >= tensor.bytes);
      if (fit) return fit;
      this.scratch.splice(this.scratch.indexOf(byAge[0]), 1);
      this.retired.push(byAge[0]);
    }
    const copy = this.make(sizeClass(tensor.bytes), "scratch", "texels");
    this.scratch.push(copy);
    return copy;
  }

  private make(bytes: number, kind: MemoryKind, label: string): Copy {
    const usage = 0x02 | 0x08; // COPY_DST | STORAGE_BINDING
    const size = sizeOf(bytes);
    const rows = Math.ceil(bytes / ROW);
    const extent = [size / rows / TEXEL, rows];
    const texture = this.device.createTexture({ label, size: extent, format: "rgba32uint", usage });
    this.pool.charge(kind, size);
    return { texture, size, buffer: null, offset: 0, bytes: 0, by: null, used: 0 };
  }

  private free({ texture, size }: Copy, kind: MemoryKind): void {
    texture.destroy();
    this.pool.charge(kind, -size);
    this.pool.dropped++;
  }
}

/** Bytes of a texture for so many: whole rows, a short one its own length. */
function sizeOf(bytes: number): number {
  return bytes <= ROW ? bytes : Math.ceil(bytes / ROW) * ROW;
}

function holds(copy: Copy, { buffer, offset, bytes }: Tensor): boolean {
  return copy.buffer === buffer && copy.offset === offset && copy.bytes === bytes;
}
