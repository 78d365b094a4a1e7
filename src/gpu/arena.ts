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
  private readonly offsets = new Map<string, number>();
  private used = 0;
  private written = 0;

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

  /** Byte offset of the slot that holds `words`. Call only when not `full`. */
  place(words: Uint32Array): number {
    const key = words.join();
    const known = this.offsets.get(key);
    if (known !== undefined) return known;
    const offset = this.used++ * SLOT;
    this.words.set(words, offset / 4);
    this.offsets.set(key, offset);
    return offset;
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
    this.used = 0;
    this.written = 0;
  }
}
