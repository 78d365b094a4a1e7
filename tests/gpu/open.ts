import { type Gpu, type GpuOptions, requestGpu } from "../../src/gpu/device.ts";
import { openAdapter } from "../../src/platform/index.ts";

/** A separate device for a test, to break or to limit: an adapter can open only one device. */
export async function ownGpu(options: GpuOptions = {}): Promise<Gpu> {
  const { adapter, waiting, f16 } = await openAdapter();
  return requestGpu(adapter, {
    waiting,
    ...options,
    disable: [...(options.disable ?? []), ...(f16 ? [] : (["f16"] as const))],
  });
}
