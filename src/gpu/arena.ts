import type { Params } from "./params.ts";

/** Bytes between two parameter blocks: WebGPU's default minUniformBufferOffsetAlignment. */
const SLOT = 256;
const SLOTS = 4096;

/**
 * Parameters of all dispatches in one uniform buffer, bound by dynamic offset. Equal parameters share a slot, so a step
 * with the shapes of an earlier step writes nothing.
 */
export class UniformArena {
  readonly buffer: GPUBuffer;
  private readonly device: GPUDevice;
  private readonly host = new ArrayBuffer(SLOT * SLOTS);
  private readonly words = new Uint32Array(this.host);
  /** offsets of slots, by a hash of their words */
  private readonly offsets = new Map<number, number[]>();
  private used = 0;
  private written = 0;
  private era = 0;

  constructor(device: GPUDevice) {
    this.device = device;
    this.buffer = device.createBuffer({ label: "uniforms", size: SLOT * SLOTS, usage: 0x40 | 0x08 }); // UNIFORM | COPY_DST
  }

  /** Bytes that a binding of the arena covers. */
  get slotBytes(): number {
    return SLOT;
  }

  /** True if no new parameters fit: submit the recorded work, then call `reset`. */
  get full(): boolean {
    return this.used >= SLOTS;
  }

  /** Byte offset of the slot that holds `params`, as setBindGroup takes it. Call only when not `full`. */
  place(params: Params): [number] {
    if (params.era === this.era) return params.offsets;
    params.era = this.era;
    params.offsets[0] = this.slotOf(params.words);
    return params.offsets;
  }

  private slotOf(words: Uint32Array): number {
    let hash = words.length;
    for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i], 0x01000193) ^ (hash >>> 15);
    let slots = this.offsets.get(hash);
    if (!slots) this.offsets.set(hash, (slots = []));
    for (const known of slots) if (this.holds(known / 4, words)) return known;
    const offset = this.used++ * SLOT;
    this.words.set(words, offset / 4);
    slots.push(offset);
    return offset;
  }

  private holds(at: number, words: Uint32Array): boolean {
    for (let i = 0; i < words.length; i++) if (this.words[at + i] !== words[i]) return false;
    return true;
  }

  /** Queues new slots for upload; call before the submit that reads them. */
  upload(): void {
    if (this.used === this.written) return;
    const start = this.written * SLOT;
    this.device.queue.writeBuffer(this.buffer, start, this.host, start, (this.used - this.written) * SLOT);
    this.written = this.used;
  }

  /** Forgets all slots. Call only if no unsubmitted work refers to a slot. */
  reset(): void {
    this.offsets.clear();
    this.era++;
    this.used = 0;
    this.written = 0;
  }
}
