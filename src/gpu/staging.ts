/** Reused mappable buffers: in the long run, read-backs neither allocate nor stall the queue. */
export class StagingRing {
  private readonly device: GPUDevice;
  private readonly idle: GPUBuffer[] = [];
  /** total bytes, idle or in flight */
  bytes = 0;

  private readonly wait: <T>(promise: Promise<T>) => Promise<T>;

  constructor(device: GPUDevice, wait: <T>(promise: Promise<T>) => Promise<T>) {
    this.device = device;
    this.wait = wait;
  }

  take(bytes: number): GPUBuffer {
    const at = this.idle.findIndex((b) => b.size >= bytes && b.size <= 4 * bytes + 4096);
    if (at >= 0) return this.idle.splice(at, 1)[0];
    const size = 2 ** Math.ceil(Math.log2(Math.max(256, bytes)));
    this.bytes += size;
    return this.device.createBuffer({ label: "staging", size, usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
  }

  /** Waits for the copy into `buffer`, copies it out and takes the buffer back. */
  async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    await this.wait(buffer.mapAsync(1, 0, bytes)); // READ
    const data = buffer.getMappedRange(0, bytes).slice(0);
    buffer.unmap();
    this.idle.push(buffer);
    while (this.idle.length > 8) {
      const old = this.idle.shift()!;
      this.bytes -= old.size;
      old.destroy();
    }
    return data;
  }
}
