import { GpuError } from "../errors.ts";
import { type SoftwareRenderer, softwareRenderer } from "../gpu/cpu-adapters/names.ts";

/** A working adapter from a runtime, with facts about it for the GPU layer and the user. */
export interface Platform {
  name: "node" | "deno" | "browser";
  /** the object that creates adapters; every Platform keeps a reference, because Dawn's crashes the process when collected */
  gpu: GPU;
  /** unused: nobody has called `requestDevice` on it */
  adapter: GPUAdapter;
  /** whether the adapter computes on the CPU */
  software: boolean;
  /** whether a test of f16 arithmetic on this adapter gave the right numbers */
  f16: boolean;
  /** one line that says how to speed up this machine, or null */
  advice: string | null;
  /** a short name of the adapter, for a log or a table */
  describe: string;
  /** for `requestGpu`: called while something waits for the GPU; absent if the runtime waits efficiently by itself */
  waiting?: { begin(): void; end(): void };
  /** for `requestGpu`: opens more adapters if the driver compiles kernels on one thread; else absent */
  spares?: { count: number; open(): Promise<GPUAdapter> };
}

/** Which adapter to open: the best available, only a real GPU, or one of the two software renderers. */
export type AdapterChoice = "auto" | "gpu" | "mesa" | "swiftshader";

/** Options for opening an adapter. */
export interface OpenOptions {
  /** default `QWENCH_ADAPTER`, else auto; browsers ignore it */
  adapter?: AdapterChoice;
  /** Dawn toggles by name, e.g. `allow_unsafe_apis`; default `QWENCH_DAWN_FEATURES`, comma separated */
  dawnFeatures?: readonly string[];
  /** source of the defaults; default: the environment of the process */
  env?: Record<string, string | undefined>;
  /** whether Qwench may download a software renderer from npm if this machine has no adapter; default true */
  fetch?: boolean;
  /** receives the advice once per process; default console.error */
  warn?: (line: string) => void;
}

const CHOICES: readonly AdapterChoice[] = ["auto", "gpu", "mesa", "swiftshader"];

/** Reads `QWENCH_ADAPTER`. @throws {GpuError} if the value is not one of the four */
export function parseChoice(value: string | undefined): AdapterChoice {
  if (!value) return "auto";
  const choice = CHOICES.find((known) => known === value);
  if (choice) return choice;
  throw new GpuError(`Cannot use QWENCH_ADAPTER=${value}: it must be one of ${CHOICES.join(", ")}`);
}

/** Which software renderer an adapter uses; null for a GPU. */
export function rendererOf({ architecture, device, description }: GPUAdapterInfo): SoftwareRenderer | null {
  return softwareRenderer(`${architecture} ${device} ${description}`);
}

/** Whether an adapter computes on the CPU. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  return info.isFallbackAdapter === true || rendererOf(info) !== null;
}

/** Whether an adapter matches the choice. */
export function suits(choice: AdapterChoice, info: GPUAdapterInfo): boolean {
  if (choice === "gpu") return !isSoftware(info);
  if (choice === "mesa") return rendererOf(info) === "llvmpipe";
  return true;
}

let advised = false;

/** Prints the advice once per process. */
export function giveAdvice(advice: string | null, warn: (line: string) => void = console.error): void {
  if (advice === null || advised) return;
  advised = true;
  warn(advice);
}

/** A short name of the adapter: `llvmpipe: Mesa 25.0.7 (software)`. */
export function describeAdapter(info: GPUAdapterInfo): string {
  const name = info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(" ");
  return `${name || "unnamed adapter"}${isSoftware(info) ? " (software)" : ""}`;
}

const PROBE = `
enable f16;
@group(0) @binding(0) var<storage, read_write> values: array<f16>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) i: u32) { values[i] = values[i] * 0.5h + f16(i); }
`;
// bits of 1, 1.5, −2, 0.25, 1024, 3, −0.5, 65504, and of these × 0.5 + i: 0.5, 1.75, 1, 3.125, 516, 6.5, 5.75, 32752 (rounded)
const PROBE_IN = [0x3c00, 0x3e00, 0xc000, 0x3400, 0x6400, 0x4200, 0xb800, 0x7bff];
const PROBE_OUT = [0x3800, 0x3f00, 0x3c00, 0x4240, 0x6008, 0x4680, 0x45c0, 0x77ff];

/**
 * Computes a few f16 values and compares their bits: some drivers accept f16 shaders and silently return zeros.
 *
 * @param device created with the feature `shader-f16`; without it the result is false
 */
export async function probeF16(device: GPUDevice): Promise<boolean> {
  if (!device.features.has("shader-f16")) return false;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: PROBE, label: "probe f16" });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const usage = { storage: 0x80, copySource: 0x4, copyTarget: 0x8, mapRead: 0x1 }; // values of GPUBufferUsage, which is undefined until Dawn has started
  const values = device.createBuffer({ size: 16, usage: usage.storage | usage.copySource | usage.copyTarget });
  const staging = device.createBuffer({ size: 16, usage: usage.mapRead | usage.copyTarget });
  try {
    device.queue.writeBuffer(values, 0, new Uint16Array(PROBE_IN));
    const entries = [{ binding: 0, resource: { buffer: values } }];
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(values, 0, staging, 0, 16);
    device.queue.submit([encoder.finish()]);
    if ((await device.popErrorScope()) !== null) return false;
    await staging.mapAsync(1);
    const got = new Uint16Array(staging.getMappedRange());
    return PROBE_OUT.every((bits, i) => Math.abs(got[i] - bits) <= 1); // allows one unit in the last place
  } finally {
    values.destroy();
    staging.destroy();
  }
}

/** Completes a Platform. Tests f16 on a second adapter, because an adapter creates only one device. */
export async function describePlatform(
  name: Platform["name"],
  gpu: GPU,
  request: GPURequestAdapterOptions,
  adapter: GPUAdapter,
  advice: string | null,
): Promise<Platform> {
  const software = isSoftware(adapter.info);
  return {
    name,
    gpu,
    adapter,
    software,
    f16: await f16Works(gpu, request),
    advice,
    describe: describeAdapter(adapter.info),
  };
}

async function f16Works(gpu: GPU, request: GPURequestAdapterOptions): Promise<boolean> {
  const adapter = await gpu.requestAdapter(request);
  if (!adapter?.features.has("shader-f16")) return false;
  const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16"], label: "probe f16" });
  try {
    return await probeF16(device);
  } finally {
    device.destroy();
  }
}
