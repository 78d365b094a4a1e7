import type { GpuContext } from "../context.ts";
import type { Kernel, Program } from "../program.ts";
import { isTextureLayout, TEXTURE_VIEWS, type TextureLayout } from "../storage.ts";

/** Further devices of the same adapter, for drivers that need them to compile in parallel. */
export interface Spares {
  /** useful number of devices */
  count: number;
  open(): Promise<GpuContext>;
  /**
   * milliseconds: a kernel slower than this was not in the driver's cache, so that further devices are worth opening
   */
  slowMs: number;
}

/**
 * Compiles kernels before they are needed, several at once. Returns early without an error when `signal` fires: the
 * remaining kernels compile at first use. Errors surface at the next `gpu.check`, `settle` or awaited read, as at first
 * use.
 *
 * @param spares further devices for drivers that translate a kernel at its first dispatch, on one thread (Mesa's
 *   software renderer; 30 times as slow as creating the pipeline). Each device translates a share and finds the others'
 *   kernels in the driver's cache on disk. If that cache is off, this device translates the rest at first use.
 * @param onProgress number of kernels that are ready, of those that were missing
 */
export async function compileAhead(
  gpu: GpuContext,
  kernels: readonly Kernel[],
  spares: Spares | null,
  signal?: AbortSignal,
  onProgress?: (done: number, total: number) => void,
): Promise<void> {
  const missing = kernels.filter((kernel) => !gpu.programs.has(kernel));
  const take = queueOf(missing, signal);
  const atOnce = Math.max(2, globalThis.navigator?.hardwareConcurrency ?? 4);
  let done = 0;
  const tell = () => onProgress?.(++done, missing.length);
  const make = async () => {
    for (let kernel = take(); kernel; kernel = take()) {
      await gpu.wait(gpu.programs.prepare(kernel));
      if (!spares) tell();
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, missing.length) }, make));
    if (spares && missing.length > 0) await shareOut(gpu, missing, spares, tell, signal);
  } catch (error) {
    gpu.check(); // a lost device has a better error
    throw error;
  }
}

async function shareOut(
  gpu: GpuContext,
  kernels: readonly Kernel[],
  { count, open, slowMs }: Spares,
  tell: () => void,
  signal?: AbortSignal,
) {
  const take = queueOf(kernels, signal);
  const work = async (device: GpuContext, onSlow = () => {}) => {
    for (let kernel = take(); kernel; kernel = take()) {
      await device.wait(device.programs.prepare(kernel));
      if (!device.programs.has(kernel)) continue;
      const timer = setTimeout(onSlow, slowMs);
      await translate(device, device.programs.get(kernel.shader, kernel.variant));
      clearTimeout(timer);
      tell();
    }
  };
  const spare = async () => {
    const device = await open();
    try {
      await work(device);
    } finally {
      device.destroy();
    }
  };
  const others: Promise<void>[] = [];
  const help = () => {
    // optional help: ignore errors
    for (let i = others.length; i < Math.min(count, kernels.length - 1); i++) others.push(spare().catch(() => {}));
  };
  await work(gpu, help);
  await Promise.all(others);
}

function queueOf(kernels: readonly Kernel[], signal?: AbortSignal): () => Kernel | undefined {
  let at = 0;
  return () => (signal?.aborted ? undefined : kernels[at++]);
}

/** Dispatches zero workgroups of a kernel, indirectly from a buffer, because Dawn warns about a plain 0. */
async function translate(gpu: GpuContext, program: Program): Promise<void> {
  const { device } = gpu;
  const made: (GPUBuffer | GPUTexture)[] = [];
  const buffer = (usage: number) => {
    const empty = device.createBuffer({ label: "compile", size: 256, usage });
    made.push(empty);
    return empty;
  };
  const texels = (layout: TextureLayout) => {
    const empty = device.createTexture({ label: "compile", size: [1, 1], format: "rgba32uint", usage: 0x08 }); // STORAGE_BINDING
    made.push(empty);
    return empty.createView({ dimension: TEXTURE_VIEWS[layout] });
  };
  const entries: GPUBindGroupEntry[] = program.storage.map(({ slot, kind }) => ({
    binding: slot,
    resource: isTextureLayout(kind) ? texels(kind) : { buffer: buffer(0x80) }, // STORAGE
  }));
  if (program.uniform >= 0) {
    entries.push({ binding: program.uniform, resource: { buffer: gpu.arena.buffer, size: gpu.arena.slotBytes } });
  }
  device.pushErrorScope("validation"); // the use of the kernel reports the error
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(program.pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: program.layout, entries }), program.uniform >= 0 ? [0] : []);
  pass.dispatchWorkgroupsIndirect(buffer(0x0100), 0); // INDIRECT: zeros
  pass.end();
  device.queue.submit([encoder.finish()]);
  const refused = device.popErrorScope();
  await gpu.wait(device.queue.onSubmittedWorkDone());
  await refused;
  for (const empty of made) empty.destroy();
}
