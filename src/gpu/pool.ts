import { MemoryError } from "../errors.ts";

/** What memory is spent on; the columns of the forecast table. */
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
  /** counts up from block to block */
  readonly id: number;
  /** bytes, a size class */
  readonly size: number;
  kind: MemoryKind;
  label: string;
  /** the step in which it was last handed out or given back */
  touched: number;
  free: boolean;
}

/** A buffer of the pool. */
interface BufferBlock extends Block {
  readonly memory: GPUBuffer;
}

/** A texture that is counted with the pool's buffers. */
interface TextureBlock extends Block {
  readonly memory: GPUTexture;
}

/** How much lies where, in bytes. */
interface Ledger {
  /** allocated from the device now, free blocks of the pool included */
  allocated: number;
  /** the most that was ever allocated */
  peak: number;
  /** of `allocated`, by kind; free blocks count under the kind that they last had */
  byKind: Partial<Record<MemoryKind, number>>;
  /** by kind, at the moment of the peak */
  peakByKind: Partial<Record<MemoryKind, number>>;
}

/** A request is rounded up to one of eight sizes per power of two, so that steps of nearly equal length share buffers. */
export function sizeClass(bytes: number): number {
  if (bytes <= 2048) return Math.max(256, Math.ceil(bytes / 256) * 256);
  const grain = 2 ** (Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / grain) * grain;
}

/** A free block may stand in for one down to this share of its size. */
const FIT = 0.75;
/** Free blocks that nothing wanted for so many steps go back to the device. */
const IDLE_STEPS = 8;

/** Buffers by size class: reused, counted, and given back when idle. */
export class Pool {
  readonly ledger: Ledger = { allocated: 0, peak: 0, byKind: {}, peakByKind: {} };
  /**
   * Bytes, a forecast's peak. Rather than allocate past it, the pool gives idle buffers of earlier steps back, then hands out
   * buffers that are much too large.
   */
  budget = Number.POSITIVE_INFINITY;
  /** blocks given back to the device so far: what is cached for their buffers is of no more use */
  dropped = 0;
  /** told of every block that goes back to the device, before it does */
  onDrop: ((block: Block) => void) | null = null;
  /** told when everything that nothing uses goes back to the device */
  onTrim: (() => void) | null = null;
  private readonly device: GPUDevice;
  private readonly maxBuffer: number;
  private readonly free: BufferBlock[] = []; // sorted by size
  private readonly all = new Set<Block>();
  private step = 0;
  private made = 0;

  constructor(device: GPUDevice) {
    this.device = device;
    this.maxBuffer = device.limits.maxBufferSize;
  }

  /**
   * Hands out a buffer of at least `bytes`. Its content is whatever the last user left.
   *
   * @param exact long-lived tensors: no rounding beyond 256 bytes, never a reused block
   * @throws {MemoryError} when one buffer would pass the device's maxBufferSize
   */
  take(bytes: number, kind: MemoryKind, label: string, exact = false): BufferBlock {
    const size = exact ? Math.max(256, Math.ceil(bytes / 256) * 256) : sizeClass(bytes);
    if (size > this.maxBuffer) {
      throw new MemoryError(
        `Cannot allocate ${label}: ${size} bytes pass this device's maxBufferSize of ${this.maxBuffer} bytes`,
      );
    }
    if (!exact) {
      const reused = this.reuse(size, FIT);
      if (reused) return this.lend(reused, kind, label);
    }
    this.makeRoom(size);
    if (!exact && this.ledger.allocated + size > this.budget) {
      const wasteful = this.reuse(size, 0);
      if (wasteful) return this.lend(wasteful, kind, label);
    }
    const memory = this.device.createBuffer({
      label,
      size,
      usage: 0x80 | 0x04 | 0x08, // STORAGE | COPY_SRC | COPY_DST, as numbers: globals are absent under Node
    });
    return this.add({ memory, id: this.made++, size, kind, label, touched: this.step, free: false });
  }

  /** A long-lived texture of `size` bytes, counted like a buffer. */
  takeTexture(descriptor: GPUTextureDescriptor, size: number, kind: MemoryKind, label: string): TextureBlock {
    this.makeRoom(size);
    const memory = this.device.createTexture({ ...descriptor, label });
    return this.add({ memory, id: this.made++, size, kind, label, touched: this.step, free: false });
  }

  private add<B extends Block>(block: B): B {
    this.all.add(block);
    this.charge(block.kind, block.size);
    return block;
  }

  /** Counts bytes that were allocated beside the pool; freed, where negative. */
  charge(kind: MemoryKind, bytes: number): void {
    this.ledger.allocated += bytes;
    this.count(kind, bytes);
    if (this.ledger.allocated > this.ledger.peak) {
      this.ledger.peak = this.ledger.allocated;
      this.ledger.peakByKind = { ...this.ledger.byKind };
    }
  }

  /** Gives a buffer back for reuse. Work already recorded may still use it: the queue runs in order. */
  give(block: Block): void {
    if (block.free) throw new MemoryError(`Cannot release ${block.label} twice`);
    block.free = true;
    block.touched = this.step;
    let at = this.free.findIndex((b) => b.size >= block.size);
    if (at < 0) at = this.free.length;
    this.free.splice(at, 0, block as BufferBlock);
  }

  /** Destroys a block now: for weights that are unloaded. Submitted work must have ended. */
  drop(block: Block): void {
    this.onDrop?.(block);
    if (block.free) this.free.splice(this.free.indexOf(block as BufferBlock), 1);
    this.all.delete(block);
    this.dropped++;
    this.charge(block.kind, -block.size);
    block.memory.destroy();
  }

  /** Marks a step boundary, after a submit; idle free blocks go back to the device. */
  endStep(): void {
    this.step++;
    // a step like the last one gets the same buffers in the same places, and their bind groups
    this.free.sort((a, b) => a.size - b.size || a.id - b.id);
    for (const block of this.free.filter((b) => this.step - b.touched > IDLE_STEPS)) this.drop(block);
  }

  /** Gives every free block back to the device: between phases of different shapes. */
  trim(): void {
    this.onTrim?.();
    for (const block of [...this.free]) this.drop(block);
  }

  /** Destroys every block, those in use too: to load another model on the same device. Submitted work must have ended. */
  clear(): void {
    this.onTrim?.();
    for (const block of [...this.all]) this.drop(block);
    this.budget = Number.POSITIVE_INFINITY;
  }

  /** Labels and sizes of what is in use, largest first: for an out-of-memory message. */
  largest(count: number): { label: string; size: number }[] {
    return [...this.all]
      .filter((b) => !b.free)
      .sort((a, b) => b.size - a.size)
      .slice(0, count)
      .map(({ label, size }) => ({ label, size }));
  }

  /** The smallest free block of at least `size` bytes, unless `size` is less than the share `fit` of it. */
  private reuse(size: number, fit: number): BufferBlock | null {
    const at = this.free.findIndex((b) => b.size >= size);
    if (at < 0 || size < fit * this.free[at].size) return null;
    return this.free.splice(at, 1)[0];
  }

  private lend(block: BufferBlock, kind: MemoryKind, label: string): BufferBlock {
    this.count(block.kind, -block.size);
    this.count(kind, block.size);
    return Object.assign(block, { kind, label, free: false, touched: this.step });
  }

  /** Makes room for `bytes` below the budget, as far as earlier steps left free blocks: the longest idle go first. */
  makeRoom(bytes: number): void {
    if (this.ledger.allocated + bytes <= this.budget) return;
    const idle = this.free
      .filter((b) => b.touched < this.step)
      .sort((a, b) => a.touched - b.touched || b.size - a.size);
    for (const block of idle) {
      if (this.ledger.allocated + bytes <= this.budget) return;
      this.drop(block);
    }
  }

  private count(kind: MemoryKind, bytes: number): void {
    this.ledger.byKind[kind] = (this.ledger.byKind[kind] ?? 0) + bytes;
  }
}
