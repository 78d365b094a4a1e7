const MAX_PASSES = 1024;

/** Time of one kernel over all its dispatches. */
interface KernelTime {
  kernel: string;
  count: number;
  milliseconds: number;
}

/** Times every dispatch with timestamp queries, one pass each. Slower, so only on request (`--profile`). */
export class Profiler {
  private readonly device: GPUDevice;
  private readonly set: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private names: string[] = [];
  private ready: { names: string[]; staging: GPUBuffer } | null = null;
  private readonly times = new Map<string, KernelTime>();
  private readonly pending = new Set<Promise<void>>();

  constructor(device: GPUDevice) {
    this.device = device;
    this.set = device.createQuerySet({ type: "timestamp", count: 2 * MAX_PASSES });
    this.resolved = device.createBuffer({ label: "timestamps", size: 16 * MAX_PASSES, usage: 0x0200 | 0x04 }); // QUERY_RESOLVE | COPY_SRC
  }

  get full(): boolean {
    return this.names.length >= MAX_PASSES;
  }

  mark(name: string): GPUComputePassTimestampWrites {
    const at = 2 * this.names.length;
    this.names.push(name);
    return { querySet: this.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  resolve(encoder: GPUCommandEncoder): void {
    const { names } = this;
    if (names.length === 0) return;
    const bytes = 16 * names.length;
    const staging = this.device.createBuffer({ label: "timestamps", size: bytes, usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
    encoder.resolveQuerySet(this.set, 0, 2 * names.length, this.resolved, 0);
    encoder.copyBufferToBuffer(this.resolved, 0, staging, 0, bytes);
    this.ready = { names, staging };
    this.names = [];
  }

  collect(): void {
    if (!this.ready) return;
    const { names, staging } = this.ready;
    this.ready = null;
    const done = staging.mapAsync(1).then(() => {
      const ticks = new BigUint64Array(staging.getMappedRange());
      names.forEach((kernel, i) => {
        const row = this.times.get(kernel) ?? { kernel, count: 0, milliseconds: 0 };
        row.count++;
        row.milliseconds += Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6;
        this.times.set(kernel, row);
      });
      staging.destroy();
    });
    this.pending.add(done);
    const remove = () => this.pending.delete(done);
    done.then(remove, remove); // a lost device reports itself
  }

  /** All kernels so far, the most expensive first. Waits for work in flight. */
  async table(): Promise<KernelTime[]> {
    await Promise.allSettled(this.pending);
    return [...this.times.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  reset(): void {
    this.times.clear();
  }
}
