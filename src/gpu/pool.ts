import { MemoryError } from "../errors.ts";

/** Uses of memory; the columns of the forecast table. */
export type MemoryKind =
  | "weights"
  | "trainable"
  | "optimizer"
  | "activations"
  | "kv_cache"
  | "scratch"
  | "input"
  | "staging";

/** One buffer or texture of the pool. */
export interface Block {
  readonly memory: GPUBuffer | GPUTexture;
  /** increases with every new block */
  readonly id: number;
  /** bytes, rounded to a size class */
  readonly size: number;
  kind: MemoryKind;
  label: string;
  /** the step in which it was last taken or released */
  touched: number;
  /** the pool's count of submissions at that time */
  used: number;
  free: boolean;
  /** whether commands that were not submitted when it was taken may use its memory */
  awaited: boolean;
  /** increases each time the block is lent: tells its tensors apart */
  lease: number;
}

/** A buffer of the pool. */
interface BufferBlock extends Block {
  readonly memory: GPUBuffer;
}

/** A texture that counts towards the pool's memory. */
interface TextureBlock extends Block {
  readonly memory: GPUTexture;
}

/** Memory statistics, in bytes. */
interface Ledger {
  /** currently allocated from the device, including free blocks of the pool */
  allocated: number;
  /** peak of `allocated` */
  peak: number;
  /** `allocated` by kind; free blocks count under their last kind */
  byKind: Partial<Record<MemoryKind, number>>;
  /** the peak, by kind */
  peakByKind: Partial<Record<MemoryKind, number>>;
}

/** A request is rounded up to one of eight sizes per power of two, so that steps of nearly equal length share buffers. */
export function sizeClass(bytes: number): number {
  if (bytes <= 2048) return Math.max(256, Math.ceil(bytes / 256) * 256);
  const exponent = bytes < 2 ** 31 ? 31 - Math.clz32(bytes) : Math.floor(Math.log2(bytes));
  const grain = 2 ** (exponent - 3);
  return Math.ceil(bytes / grain) * grain;
}

/** A free block may serve requests down to this share of its size. */
const FIT = 0.75;
/** Free blocks that were unused for this many steps are freed. */
const IDLE_STEPS = 8;

/** Buffers by size class: reused, counted, and freed when idle. */
export class Pool {
  readonly ledger: Ledger = { allocated: 0, peak: 0, byKind: {}, peakByKind: {} };
  /**
   * Bytes: a forecast's peak. Before the pool allocates beyond it, it frees idle buffers of earlier steps, then reuses
   * buffers that are much too large.
   */
  budget = Number.POSITIVE_INFINITY;
  /** number of blocks freed so far: caches for their buffers are then stale */
  dropped = 0;
  /** called before a block is freed */
  onDrop: ((block: Block) => void) | null = null;
  /** called when memory is short and no recorded command waits to be submitted */
  onPressure: (() => void) | null = null;
  /** called when all unused memory is freed */
  onTrim: (() => void) | null = null;
  private readonly device: GPUDevice;
  private readonly maxBuffer: number;
  private readonly free: BufferBlock[] = []; // sorted by size
  private readonly all = new Set<Block>();
  private step = 0;
  private made = 0;
  private recordings = 0;
  private submissions = 0;

  constructor(device: GPUDevice) {
    this.device = device;
    this.maxBuffer = device.limits.maxBufferSize;
  }

  /**
   * Returns a buffer of at least `bytes`, with undefined content.
   *
   * @param exact long-lived tensors: no rounding beyond 256 bytes, never a reused block
   * @param submit submits recorded work, so that the idle buffers that it uses can be freed for this one
   * @throws {MemoryError} the buffer would exceed the device's maxBufferSize
   */
  take(bytes: number, kind: MemoryKind, label: string, exact = false, submit: (() => void) | null = null): BufferBlock {
    const size = exact ? Math.max(256, Math.ceil(bytes / 256) * 256) : sizeClass(bytes);
    if (size > this.maxBuffer) {
      throw new MemoryError(
        `Cannot allocate ${label}: ${size} bytes exceed this device's maxBufferSize of ${this.maxBuffer} bytes`,
      );
    }
    if (!exact) {
      const reused = this.reuse(size, FIT);
      if (reused) return this.lend(reused, kind, label);
    }
    this.makeRoom(size, submit);
    if (!exact && !this.fits(size)) {
      const wasteful = this.reuse(size, 0);
      if (wasteful) return this.lend(wasteful, kind, label);
    }
    const memory = this.device.createBuffer({
      label,
      size,
      usage: 0x80 | 0x04 | 0x08, // STORAGE | COPY_SRC | COPY_DST, as numbers: globals are absent under Node
    });
    return this.add(this.blockOf(memory, size, kind, label));
  }

  /** A long-lived texture of `size` bytes, counted like a buffer. */
  takeTexture(descriptor: GPUTextureDescriptor, size: number, kind: MemoryKind, label: string): TextureBlock {
    this.makeRoom(size);
    const memory = this.device.createTexture({ ...descriptor, label });
    return this.add(this.blockOf(memory, size, kind, label));
  }

  private blockOf<M extends Block["memory"]>(
    memory: M,
    size: number,
    kind: MemoryKind,
    label: string,
  ): Block & { readonly memory: M } {
    const { step: touched, submissions: used } = this;
    return { memory, id: this.made++, size, kind, label, touched, used, free: false, awaited: false, lease: 0 };
  }

  /** Marks the start of a recording, whose commands may use any buffer taken or released from now on. */
  recording(): void {
    this.recordings++;
  }

  /** Marks the end of a recording: its commands are submitted. */
  submitted(): void {
    this.recordings--;
    if (this.recordings === 0) this.submissions++;
  }

  private add<B extends Block>(block: B): B {
    this.all.add(block);
    this.charge(block.kind, block.size);
    return block;
  }

  /** Counts bytes allocated outside the pool; negative: freed. */
  charge(kind: MemoryKind, bytes: number): void {
    this.ledger.allocated += bytes;
    this.count(kind, bytes);
    if (this.ledger.allocated > this.ledger.peak) {
      this.ledger.peak = this.ledger.allocated;
      this.ledger.peakByKind = { ...this.ledger.byKind };
    }
  }

  /** Releases a buffer for reuse. Recorded work may still use it: the queue runs in order. */
  give(block: Block): void {
    if (block.free) throw new MemoryError(`Cannot release ${block.label} twice`);
    block.touched = this.step;
    block.used = this.submissions;
    block.free = true;
    this.free.splice(this.atLeast(block.size), 0, block as BufferBlock);
  }

  /** Destroys a block now: for weights that are unloaded. Submitted work must have finished. */
  drop(block: Block): void {
    this.onDrop?.(block);
    if (block.free) this.free.splice(this.free.indexOf(block as BufferBlock), 1);
    this.all.delete(block);
    this.dropped++;
    this.charge(block.kind, -block.size);
    block.memory.destroy();
  }

  /** Marks a step boundary, after a submit; frees idle blocks. */
  endStep(): void {
    this.step++;
    // so that a step like the last gets the same buffers in the same order, with cached bind groups
    this.free.sort((a, b) => a.size - b.size || a.id - b.id);
    for (const block of this.free.filter((b) => this.step - b.touched > IDLE_STEPS)) this.drop(block);
  }

  /** Frees every unused block: call it between phases of different shapes. */
  trim(): void {
    this.onTrim?.();
    for (const block of [...this.free]) this.drop(block);
  }

  /** Destroys every block, used or not, to load another model on the device. Submitted work must have finished. */
  clear(): void {
    this.onTrim?.();
    for (const block of [...this.all]) this.drop(block);
    this.budget = Number.POSITIVE_INFINITY;
  }

  /** Labels and sizes of blocks in use, largest first, for an out-of-memory message. */
  largest(count: number): { label: string; size: number }[] {
    return [...this.all]
      .filter((b) => !b.free)
      .sort((a, b) => b.size - a.size)
      .slice(0, count)
      .map(({ label, size }) => ({ label, size }));
  }

  /** The smallest free block of at least `size` bytes, unless `size` is less than the share `fit` of it. */
  private reuse(size: number, fit: number): BufferBlock | null {
    const at = this.atLeast(size);
    if (at === this.free.length || size < fit * this.free[at].size) return null;
    return this.free.splice(at, 1)[0];
  }

  /** The place of the first free block of at least `size` bytes. */
  private atLeast(size: number): number {
    let [low, high] = [0, this.free.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.free[middle].size < size) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private lend(block: BufferBlock, kind: MemoryKind, label: string): BufferBlock {
    if (kind !== block.kind) {
      this.count(block.kind, -block.size);
      this.count(kind, block.size);
    }
    block.lease++;
    block.awaited = block.used >= this.submissions;
    block.touched = this.step;
    block.used = this.submissions;
    block.kind = kind;
    block.label = label;
    block.free = false;
    return block;
  }

  /**
   * Makes room for `bytes` within the budget by freeing idle blocks that no recorded command waits to use, longest idle first.
   *
   * @param submit submits recorded work, which frees more blocks; null: it must wait
   */
  makeRoom(bytes: number, submit: (() => void) | null = null): void {
    if (this.fits(bytes)) return;
    this.dropIdle(bytes);
    if (this.fits(bytes) || !submit || (this.free.length === 0 && !this.onPressure)) return;
    submit();
    if (this.recordings === 0) this.onPressure?.();
    this.dropIdle(bytes);
  }

  private fits(bytes: number): boolean {
    return this.ledger.allocated + bytes <= this.budget;
  }

  private dropIdle(bytes: number): void {
    const idle = this.free
      .filter((b) => b.touched < this.step || b.used < this.submissions)
      .sort((a, b) => a.touched - b.touched || a.used - b.used || b.size - a.size);
    for (const block of idle) {
      if (this.fits(bytes)) return;
      this.drop(block);
    }
  }

  private count(kind: MemoryKind, bytes: number): void {
    this.ledger.byKind[kind] = (this.ledger.byKind[kind] ?? 0) + bytes;
  }
}
