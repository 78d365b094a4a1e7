import type { Gpu } from "../gpu/device.ts";
import type { ModelConfig } from "./architectures/architecture.ts";
import { cacheBytes } from "./architectures/tensors.ts";
import type { Block, BlockCache } from "./layers/block.ts";

/** What a model's bodies keep of `slots` sequences of at most `capacity` tokens. */
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

  /** Gives the memory back; what was submitted with it must have ended. */
  drop(): void {
    this.gpu.drop(...this.layers.flat().flatMap((cache) => Object.values(cache ?? {})));
  }

  /** Slots of `capacity` tokens that one binding of this device can hold. */
  static mostSlots(gpu: Gpu, config: ModelConfig, capacity: number): number {
    const { largest } = cacheBytes(config, capacity);
    return Math.floor(Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize) / largest);
  }
}
