import { GpuError } from "../../errors.ts";
import { type Block, type Pool, sizeClass } from "../pool.ts";
import {
  type Bound,
  BufferStorage,
  isTextureLayout,
  type Recording,
  type Slot,
  type TextureLayout,
} from "../storage.ts";
import { bufferOf, byteLength, type DType, inTexture, sizeOf, type Tensor } from "../tensor.ts";

/** Bytes of a texel of format rgba32uint. */
const TEXEL = 16;
/** Bytes of a texture's row of 4096 texels: texel i is at (i & 4095, i >> 12). */
const ROW = 4096 * TEXEL;
/** Texels along a row of a strip. */
const STRIP = 16;
/** Number of scratch textures per layout, and the byte limit of each. */
const SCRATCH = 4;
const MOST = 64 << 20;

/** A texture for short-lived matrices. */
interface Panel {
  readonly texture: GPUTexture;
  readonly size: number;
  /** the unsubmitted recording that uses it */
  by: Recording | null;
}

/** A texture with a copy of part of a buffer. */
interface Copy {
  readonly texture: GPUTexture;
  readonly layout: TextureLayout;
  /** width, height, layers */
  readonly extent: readonly [number, number, number];
  /** capacity in bytes */
  readonly size: number;
  /** its content; null: nothing valid */
  buffer: GPUBuffer | null;
  offset: number;
  bytes: number;
  /** texels per row, for strips */
  width: number;
  /** the unsubmitted recording with its copy */
  by: Recording | null;
  /** time of last use */
  used: number;
}

/**
 * Tensors in textures, for kernels that read 16 bytes at once. Mesa's software adapter loads the texels of eight lanes
 * in about 50 instructions; vec4 loads of eight lanes from a storage buffer take 270. Frozen weights exist only in
 * textures (`hold`); other operands are copied to one of a few reused textures.
 */
export class TextureStorage extends BufferStorage {
  private readonly scratch: Copy[] = [];
  private retired: Pick<Copy, "texture" | "size">[] = [];
  private readonly panels: Panel[] = [];
  private readonly panelBytes: number;
  private readonly pending = new WeakMap<Recording, Set<Copy>>();
  private clock = 0;

  /** @param panelBytes of the largest panel */
  constructor(device: GPUDevice, pool: Pool, panelBytes: number) {
    super(device, pool);
    this.panelBytes = panelBytes;
    pool.onDrop = ({ memory }) => this.forget(memory);
    pool.onTrim = () => this.trim();
    pool.onPressure = () => this.endStep();
  }

  /**
   * Stored in rows of texels; in a buffer if products cannot read all rows and columns as texels, or the texture is too
   * large.
   */
  override hold(shape: readonly number[], dtype: DType, label: string): Tensor {
    const [rows, columns] = shape;
    const bytes = byteLength(sizeOf(shape), dtype);
    const whole = shape.length === 2 && rows % 4 === 0 && columns % 8 === 0 && (dtype === "f32" || dtype === "bf16");
    const extent = linearOf(bytes);
    if (!whole || extent[1] > (this.device.limits.maxTextureDimension2D ?? 8192))
      return super.hold(shape, dtype, label);
    const block = this.pool.takeTexture(descriptorOf(extent), roundUp(bytes), "weights", label);
    return { label, shape, dtype, buffer: null, texture: block.memory, offset: 0, bytes, block };
  }

  override write(tensor: Tensor, start: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (tensor.texture) writeTexels(this.device.queue, tensor, start, bytes);
    else {
      this.written(bufferOf(tensor));
      super.write(tensor, start, bytes);
    }
  }

  override copyOut(encoder: GPUCommandEncoder, tensor: Tensor, to: GPUBuffer, offset: number): void {
    const { texture, bytes } = tensor;
    if (!texture) {
      super.copyOut(encoder, tensor, to, offset);
      return;
    }
    for (const { origin, size, at } of boxesOf(0, bytes)) {
      encoder.copyTextureToBuffer({ texture, origin }, { buffer: to, offset: offset + at, bytesPerRow: ROW }, size);
    }
  }

  override bind(slots: readonly Slot[], tensors: Record<string, Tensor>, recording: Recording): Bound {
    const spilled = spill(slots, tensors, recording);
    const bound = spilled ? { ...tensors, ...spilled } : tensors;
    const textures = new Map<string, GPUTexture>();
    for (const { name, kind } of slots) {
      const tensor = bound[name];
      if (!tensor) continue; // the recorder reports it
      if (isTextureLayout(kind)) textures.set(name, this.textureOf(tensor, kind, recording));
      else if (kind === "write") this.written(bufferOf(tensor));
    }
    return { tensors: bound, textures, spilled: Object.values(spilled ?? {}) };
  }

  /** One texture serves all panels of a recording, because its commands run in order. */
  override panel(matrix: Tensor, recording: Recording): Tensor | null {
    const size = roundUp(this.panelBytes);
    if (matrix.bytes > size) return null;
    let panel = this.panels.find(({ by }) => by === null || by === recording);
    if (!panel) {
      this.pool.makeRoom(size, () => recording.yieldIdle());
      const texture = this.device.createTexture({ ...descriptorOf(linearOf(size)), label: "panel" });
      this.pool.charge("scratch", size);
      panel = { texture, size, by: null };
      this.panels.push(panel);
    }
    panel.by = recording;
    const { texture } = panel;
    recording.encode((encoder) => copyLinear(encoder, matrix, texture));
    return { ...matrix, buffer: null, texture, offset: 0, block: null };
  }

  /** Whether a tensor is in a texture or can be copied to one: whole texels, within the limit. */
  override reads(tensor: Tensor): boolean {
    const { offset, bytes } = tensor;
    return inTexture(tensor) || (offset % TEXEL === 0 && bytes % TEXEL === 0 && bytes <= MOST);
  }

  /** Whether a matrix has whole strips and fits a texture of the device. */
  override strips(tensor: Tensor): boolean {
    const { maxTextureDimension2D = 8192, maxTextureArrayLayers = 256 } = this.device.limits;
    const [rows, columns] = tensor.shape;
    return (
      tensor.shape.length === 2 &&
      tensor.dtype === "f32" &&
      columns % (STRIP * 4) === 0 &&
      rows <= maxTextureDimension2D &&
      columns / (STRIP * 4) <= maxTextureArrayLayers &&
      this.reads(tensor) &&
      !inTexture(tensor)
    );
  }

  /**
   * The texture with a tensor's content, starting at texel 0. Records a copy if there is none.
   *
   * @param layout "strips" only if `strips` returns true
   */
  private textureOf(tensor: Tensor, layout: TextureLayout, recording: Recording): GPUTexture {
    if (tensor.texture && layout === "linear") {
      const panel = this.panels.find(({ texture }) => texture === tensor.texture);
      if (panel) panel.by = recording; // also where what wrote it was submitted before
      return tensor.texture;
    }
    const copy = this.borrow(tensor, layout, recording);
    copy.used = ++this.clock;
    if (holds(copy, tensor, layout) && (copy.by === null || copy.by === recording)) return copy.texture;
    const { buffer, offset, bytes } = tensor;
    const how = layout === "strips" ? copyStrips : copyLinear;
    recording.encode((encoder) => how(encoder, tensor, copy.texture));
    Object.assign(copy, { buffer, offset, bytes, width: widthOf(tensor), by: recording });
    const pending = this.pending.get(recording);
    if (pending) pending.add(copy);
    else this.pending.set(recording, new Set([copy]));
    return copy.texture;
  }

  /** Makes a recording's copies valid for others, unless another recording has a copy to the same texture. */
  override submitted(recording: Recording): void {
    for (const copy of this.pending.get(recording) ?? []) {
      if (copy.by !== recording) copy.buffer = null;
      copy.by = null;
    }
    this.pending.delete(recording);
    for (const panel of this.panels) if (panel.by === recording) panel.by = null;
  }

  /** Forgets shared copies: they may have changed when the sequence is repeated. */
  override captured(): void {
    for (const copy of this.scratch) copy.buffer = null;
  }

  override written(buffer: GPUBuffer): void {
    this.forget(buffer);
  }

  private forget(memory: Block["memory"]): void {
    for (const copy of this.scratch) if (copy.buffer === memory) copy.buffer = null;
  }

  /** Frees scratch textures that became too small. Recorded work that uses them must have been submitted. */
  override endStep(): void {
    for (const copy of this.retired) this.free(copy);
    this.retired = [];
  }

  private trim(): void {
    this.retired.push(...this.scratch.splice(0), ...this.panels.splice(0));
    this.endStep();
  }

  private borrow(tensor: Tensor, layout: TextureLayout, recording: Recording): Copy {
    const alike = this.scratch.filter((copy) => copy.layout === layout);
    const found = alike.find((copy) => holds(copy, tensor, layout));
    if (found) return found;
    const extent = layout === "strips" ? this.roomFor(tensor) : linearOf(sizeClass(tensor.bytes));
    if (alike.length === SCRATCH) {
      // the most recent one may be the other operand of the same kernel
      const byAge = alike.sort((a, b) => a.used - b.used);
      const fit = byAge
        .slice(0, -1)
        .find((copy) => (layout === "strips" ? covers(copy.extent, extent) : copy.size >= tensor.bytes));
      if (fit) return fit;
      this.scratch.splice(this.scratch.indexOf(byAge[0]), 1);
      this.retired.push(byAge[0]);
    }
    const copy = this.make(extent, layout, recording);
    this.scratch.push(copy);
    return copy;
  }

  /** Strips with spare rows, so that a few more rows need no new texture. */
  private roomFor(tensor: Tensor): Copy["extent"] {
    const [width, rows, strips] = stripsOf(tensor);
    const { maxTextureDimension2D = 8192 } = this.device.limits;
    return [width, Math.min(sizeClass(256 * rows) / 256, maxTextureDimension2D), strips];
  }

  private make(extent: Copy["extent"], layout: TextureLayout, recording: Recording): Copy {
    const size = extent[0] * extent[1] * extent[2] * TEXEL;
    this.pool.makeRoom(size, () => recording.yieldIdle());
    const texture = this.device.createTexture({ ...descriptorOf(extent), label: "texels" });
    this.pool.charge("scratch", size);
    return { texture, layout, extent, size, buffer: null, offset: 0, bytes: 0, width: 0, by: null, used: 0 };
  }

  private free({ texture, size }: Pick<Copy, "texture" | "size">): void {
    texture.destroy();
    this.pool.charge("scratch", -size);
    this.pool.dropped++;
  }
}

/** Texture size for a number of bytes: whole rows, or less for a single short row. */
function roundUp(bytes: number): number {
  return bytes <= ROW ? bytes : Math.ceil(bytes / ROW) * ROW;
}

function linearOf(bytes: number): [number, number, number] {
  const rows = Math.ceil(bytes / ROW);
  return [roundUp(bytes) / rows / TEXEL, rows, 1];
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

function descriptorOf(extent: Copy["extent"]): GPUTextureDescriptor {
  return { size: [...extent], format: "rgba32uint", usage: 0x01 | 0x02 | 0x08 }; // COPY_SRC | COPY_DST | STORAGE_BINDING
}

/** A box of a texture in rows: origin, width and height, and bytes before it. */
interface Box {
  origin: [number, number];
  size: [number, number];
  at: number;
}

/** The boxes of `bytes` from byte `start` on: the rest of a row, whole rows, the beginning of a row. */
function boxesOf(start: number, bytes: number): Box[] {
  const boxes: Box[] = [];
  for (let at = 0; at < bytes; ) {
    const [x, y] = [(start + at) % ROW, Math.floor((start + at) / ROW)];
    const whole = x === 0 ? Math.floor((bytes - at) / ROW) : 0;
    const length = whole > 0 ? ROW : Math.min(ROW - x, bytes - at);
    boxes.push({ origin: [x / TEXEL, y], size: [length / TEXEL, Math.max(1, whole)], at });
    at += length * Math.max(1, whole);
  }
  return boxes;
}

function copyLinear(encoder: GPUCommandEncoder, tensor: Tensor, texture: GPUTexture): void {
  for (const { origin, size, at } of boxesOf(0, tensor.bytes)) {
    const from = { buffer: bufferOf(tensor), offset: tensor.offset + at, bytesPerRow: ROW };
    encoder.copyBufferToTexture(from, { texture, origin }, size);
  }
}

/**
 * Buffers for tensors in textures that a kernel reads as buffers, by name, or null. Copies each time: correct but slow.
 */
function spill(
  slots: readonly Slot[],
  tensors: Record<string, Tensor>,
  recording: Recording,
): Record<string, Tensor> | null {
  let spilled: Record<string, Tensor> | null = null;
  for (const { name, kind } of slots) {
    const tensor = tensors[name];
    if (!tensor?.texture || kind !== "read") continue;
    spilled ??= {};
    spilled[name] = recording.empty(tensor.shape, tensor.dtype, tensor.label, "scratch");
    recording.copy(tensor, spilled[name]);
  }
  return spilled;
}

/** Queues a write from byte `start` of a tensor in a texture. @throws {GpuError} not whole texels */
function writeTexels(queue: GPUQueue, { label, texture }: Tensor, start: number, bytes: Uint8Array<ArrayBuffer>): void {
  if (start % TEXEL !== 0 || bytes.length % TEXEL !== 0) {
    throw new GpuError(
      `Cannot write ${bytes.length} bytes at ${start} of ${label}: it is in a texture, so offset and length must be multiples of ${TEXEL} bytes`,
    );
  }
  for (const { origin, size, at } of boxesOf(start, bytes.length)) {
    queue.writeTexture({ texture: texture!, origin }, bytes, { offset: at, bytesPerRow: ROW }, size);
  }
}

function copyStrips(encoder: GPUCommandEncoder, tensor: Tensor, texture: GPUTexture): void {
  const { offset } = tensor;
  const buffer = bufferOf(tensor);
  const [width, rows, strips] = stripsOf(tensor);
  const bytesPerRow = strips * width * TEXEL;
  for (let z = 0; z < strips; z++) {
    const from = { buffer, offset: offset + z * width * TEXEL, bytesPerRow };
    encoder.copyBufferToTexture(from, { texture, origin: [0, 0, z] }, [width, rows]);
  }
}

function holds(copy: Copy, tensor: Tensor, layout: TextureLayout): boolean {
  const { buffer, offset, bytes } = tensor;
  const same = copy.buffer === buffer && copy.offset === offset && copy.bytes === bytes;
  return same && (layout === "linear" || copy.width === widthOf(tensor));
}
