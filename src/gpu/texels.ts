import { type Block, type MemoryKind, type Pool, sizeClass } from "./pool.ts";
import type { Tensor } from "./tensor.ts";

/** Bytes of a texel of format rgba32uint. */
const TEXEL = 16;
/** Bytes of a texture's row of 4096 texels: texel i lies at (i & 4095, i >> 12). */
const ROW = 4096 * TEXEL;
/** Texels along a row of a strip. */
const STRIP = 16;
/** Textures of either layout that hold activations for a while, and bytes that one may have. */
const SCRATCH = 4;
const MOST = 64 << 20;

/**
 * How texels lie: "linear" as in the buffer, in rows of 4096; "strips" of a matrix `[rows, columns]` 16 texels wide, each an
 * array layer, so that what a kernel reads down a column lies together and not in a page a row.
 */
export type Layout = "linear" | "strips";

/** How a kernel sees a texture of each layout. */
export const VIEWS = { linear: "2d", strips: "2d-array" } as const;

export function isLayout(kind: string): kind is Layout {
  return kind in VIEWS;
}

type Encode = (encoder: GPUCommandEncoder) => void;

/** A texture that has a copy of part of a buffer. */
interface Copy {
  readonly texture: GPUTexture;
  readonly layout: Layout;
  /** width, height, layers */
  readonly extent: readonly [number, number, number];
  /** bytes that it has room for */
  readonly size: number;
  /** what it holds; null: nothing of use */
  buffer: GPUBuffer | null;
  offset: number;
  bytes: number;
  /** texels of a row, where in strips */
  width: number;
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

  /** Whether a tensor is read in strips: a matrix of whole strips, copied for one use, in a texture that the device can have. */
  strips(tensor: Tensor): boolean {
    const { maxTextureDimension2D = 8192, maxTextureArrayLayers = 256 } = this.device.limits;
    const [rows, columns] = tensor.shape;
    return (
      tensor.shape.length === 2 &&
      tensor.dtype === "f32" &&
      columns % (STRIP * 4) === 0 &&
      rows <= maxTextureDimension2D &&
      columns / (STRIP * 4) <= maxTextureArrayLayers &&
      this.takes(tensor) &&
      !this.keeps(tensor)
    );
  }

  /** Whether a tensor's copy is made once and stays. */
  keeps({ block, offset, bytes }: Tensor): boolean {
    if (block?.kind !== "weights" || offset !== 0) return false;
    return this.kept.has(block) || this.held + sizeOf(bytes) <= this.budget;
  }

  /**
   * The texture with a tensor's content: texel 0 is its first. Records a copy where none is at hand.
   *
   * @param layout "strips" only of what `strips` says yes to
   * @param by the recording that asks
   * @param encode takes a copy, to be made outside of any pass, and whether it is to be made again if the recording is
   *   repeated: the texture is then shared
   */
  of(tensor: Tensor, layout: Layout, by: object, encode: (copy: Encode, again: boolean) => void): GPUTexture {
    const keep = layout === "linear" && this.keeps(tensor);
    const copy = keep ? this.keep(tensor.block!, tensor.bytes) : this.borrow(tensor, layout);
    copy.used = ++this.clock;
    if (holds(copy, tensor, layout) && (copy.by === null || copy.by === by)) return copy.texture;
    const { buffer, offset, bytes } = tensor;
    const how = layout === "strips" ? copyStrips : copyLinear;
    encode((encoder) => how(encoder, tensor, copy.texture), !keep);
    Object.assign(copy, { buffer, offset, bytes, width: widthOf(tensor), by });
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

  /** Forgets what textures hold that are shared. */
  forget(): void {
    for (const copy of this.scratch) copy.buffer = null;
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
      copy = this.make(linearOf(bytes), "linear", block.kind, block.label);
      this.kept.set(block, copy);
      this.held += copy.size;
    }
    return copy;
  }

  private borrow(tensor: Tensor, layout: Layout): Copy {
    const alike = this.scratch.filter((copy) => copy.layout === layout);
    const found = alike.find((copy) => holds(copy, tensor, layout));
    if (found) return found;
    const extent = layout === "strips" ? stripsOf(tensor) : linearOf(sizeClass(tensor.bytes));
    if (alike.length === SCRATCH) {
      // the latest may be the other operand of the same kernel
      const byAge = alike.sort((a, b) => a.used - b.used);
      const fit = byAge
        .slice(0, -1)
        .find((copy) => (layout === "strips" ? covers(copy.extent, extent) : copy.size >= tensor.bytes));
      if (fit) return fit;
      this.scratch.splice(this.scratch.indexOf(byAge[0]), 1);
      this.retired.push(byAge[0]);
    }
    const copy = this.make(extent, layout, "scratch", "texels");
    this.scratch.push(copy);
    return copy;
  }

  private make(extent: Copy["extent"], layout: Layout, kind: MemoryKind, label: string): Copy {
    const usage = 0x02 | 0x08; // COPY_DST | STORAGE_BINDING
    const size = extent[0] * extent[1] * extent[2] * TEXEL;
    const texture = this.device.createTexture({ label, size: [...extent], format: "rgba32uint", usage });
    this.pool.charge(kind, size);
    return { texture, layout, extent, size, buffer: null, offset: 0, bytes: 0, width: 0, by: null, used: 0 };
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

function linearOf(bytes: number): [number, number, number] {
  const rows = Math.ceil(bytes / ROW);
  return [sizeOf(bytes) / rows / TEXEL, rows, 1];
}

/** Texels of a row of an f32 matrix. */
function widthOf({ shape }: Tensor): number {
  return shape[1] / 4;
}

function stripsOf(tensor: Tensor): [number, number, number] {
  return [STRIP, tensor.shape[0], widthOf(tensor) / STRIP];
}

function covers(extent: Copy["extent"], other: Copy["extent"]): boolean {
  return extent.every((length, i) => length >= other[i]);
}

function copyLinear(encoder: GPUCommandEncoder, { buffer, offset, bytes }: Tensor, texture: GPUTexture): void {
  const whole = Math.floor(bytes / ROW);
  const rest = (bytes % ROW) / TEXEL;
  if (whole > 0) encoder.copyBufferToTexture({ buffer, offset, bytesPerRow: ROW }, { texture }, [ROW / TEXEL, whole]);
  if (rest === 0) return;
  const from = { buffer, offset: offset + whole * ROW };
  encoder.copyBufferToTexture(from, { texture, origin: [0, whole] }, [rest, 1]);
}

function copyStrips(encoder: GPUCommandEncoder, tensor: Tensor, texture: GPUTexture): void {
  const { buffer, offset } = tensor;
  const [width, rows, strips] = stripsOf(tensor);
  const bytesPerRow = strips * width * TEXEL;
  for (let z = 0; z < strips; z++) {
    const from = { buffer, offset: offset + z * width * TEXEL, bytesPerRow };
    encoder.copyBufferToTexture(from, { texture, origin: [0, 0, z] }, [width, rows]);
  }
}

function holds(copy: Copy, tensor: Tensor, layout: Layout): boolean {
  const { buffer, offset, bytes } = tensor;
  const same = copy.buffer === buffer && copy.offset === offset && copy.bytes === bytes;
  return same && (layout === "linear" || copy.width === widthOf(tensor));
}
