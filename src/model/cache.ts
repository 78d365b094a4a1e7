import type { Gpu } from "../gpu/device.ts";
import type { ModelConfig } from "./architectures/architecture.ts";
import { cacheBytes } from "./architectures/tensors.ts";
import type { Block, BlockCache } from "./layers/block.ts";

/** The caches of a model's bodies, for `slots` sequences of at most `capacity` tokens. */
export class SlotCache {
  readonly layers: readonly BlockCache[];
  readonly slots: number;
  readonly capacity: number;
  private readonly gpu: Gpu;

  constructor(gpu: Gpu, blocks: readonly Block[], slots: number, capacity: number) {
    this.gpu = gpu;
    this.slots = slots;
    this.capacity = capacity;
    this.layers = blocks.map((block, layer) =>
      block.map(({ body }) => body.newCache(gpu, String(layer), slots, capacity)),
    );
  }

  /** Frees the memory. All submitted work that uses it must have finished. */
  drop(): void {
    this.gpu.drop(...this.layers.flat().flatMap((cache) => Object.values(cache ?? {})));
  }

  /** Slots of `capacity` tokens that fit one binding of this device. */
  static mostSlots(gpu: Gpu, config: ModelConfig, capacity: number): number {
    const { largest } = cacheBytes(config, capacity, gpu.activations);
    return Math.floor(Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize) / largest);
  }
}
