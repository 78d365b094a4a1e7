import { availableParallelism, constants } from "node:os";
import { GpuError } from "../../errors.ts";
import { refusesSubgroupMatrix } from "../../gpu/subgroup-matrix.ts";
import { describePlatform, giveAdvice, type OpenOptions, type Platform, parseChoice, suits } from "../adapter.ts";
import { adviceFor, installMesa, remedy, useSwiftShader, useSystemVulkan, type VulkanHost } from "./vulkan.ts";
import { calmWaiting } from "./wait.ts";

const FASTEST: GPURequestAdapterOptions = { powerPreference: "high-performance" };

// Dawn's instance must outlive its devices. If it is collected earlier, the process crashes.
const instances: GPU[] = [];

const host: VulkanHost = {
  load(path) {
    const RTLD_NODELETE = 0x1000; // Node unloads a library that is not an addon; this keeps it loaded
    try {
      process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY | RTLD_NODELETE);
      return true;
    } catch (error) {
      return /self-register/.test((error as Error).message); // the library is loaded; it is not an addon
    }
  },
  setEnv(name, value) {
    if (value === null) delete process.env[name];
    else process.env[name] = value;
  },
};

/**
 * Opens Dawn's best adapter in Node: a real GPU, else Mesa's software renderer, else SwiftShader with a line of advice.
 *
 * Dawn keeps the process alive, so a program must end with `process.exit`. Call this on the main thread: a worker thread's
 * environment is a copy that Vulkan does not see.
 *
 * @throws {GpuError} if there is no adapter or the choice is unavailable; the message says what to install
 */
export async function openNodeAdapter(options: OpenOptions = {}): Promise<Platform> {
  const env = options.env ?? process.env;
  const choice = options.adapter ?? parseChoice(env.QWENCH_ADAPTER);
  const named = options.dawnFeatures ?? (env.QWENCH_DAWN_FEATURES ?? "").split(",").filter(Boolean);
  // Dawn offers a GPU's matrix units only to instances that allow unsafe APIs
  const toggles = refusesSubgroupMatrix(env) ? named : [...new Set([...named, "allow_unsafe_apis"])];
  const flags = toggles.length > 0 ? [`enable-dawn-features=${toggles.join(",")}`] : [];

  const opened = async (gpu: GPU, request: GPURequestAdapterOptions, adapter: GPUAdapter) => {
    const advice = adviceFor(choice, adapter.info);
    giveAdvice(advice, options.warn);
    const platform = await describePlatform("node", gpu, request, adapter, advice);
    return { ...platform, waiting: calmWaiting(), ...sparesOf(request, flags) };
  };

  if (choice !== "swiftshader" && (await useSystemVulkan(host, options.warn))) {
    const gpu = await dawn(flags);
    const adapter = await gpu.requestAdapter(FASTEST);
    if (adapter && suits(choice, adapter.info)) return opened(gpu, FASTEST, adapter);
    if (choice === "mesa") {
      const fallback = await gpu.requestAdapter({ forceFallbackAdapter: true });
      if (fallback && suits(choice, fallback.info)) {
        return opened(gpu, { forceFallbackAdapter: true }, fallback);
      }
    }
  }
  if (choice === "gpu" || choice === "mesa") {
    const wanted = choice === "gpu" ? "GPU" : "Mesa software renderer";
    throw new GpuError(`Cannot open adapter ${choice}: Dawn found no usable ${wanted}. ${remedy(choice)}`);
  }
  try {
    await useSwiftShader(host, options);
  } catch (error) {
    throw new GpuError(
      `Cannot open a WebGPU adapter: Dawn found no usable driver, and ${(error as Error).message}. ${installMesa()}`,
    );
  }
  const gpu = await dawn(flags);
  const adapter = await gpu.requestAdapter(FASTEST);
  if (!adapter) throw new GpuError(`Cannot open a WebGPU adapter: SwiftShader did not start. ${installMesa()}`);
  return opened(gpu, FASTEST, adapter);
}

/** Most extra devices for compiling kernels: a run has about 30 kernels, and each device has its own threads. */
const MOST_SPARES = 7;

/** More adapters, for drivers that compile kernels on one thread per instance and cache the result on disk. */
function sparesOf(request: GPURequestAdapterOptions, flags: string[]): Pick<Platform, "spares"> {
  const count = Math.min(MOST_SPARES, availableParallelism() - 1);
  if (count < 1) return {};
  const others: Promise<GPU>[] = []; // instances live as long as the process, so later runs reuse them
  let opened = 0;
  const open = async () => {
    const at = opened++ % count;
    others[at] ??= dawn(flags);
    const further = await (await others[at]).requestAdapter(request);
    if (!further) throw new GpuError("Cannot open another adapter for compiling kernels");
    return further;
  };
  return { spares: { count, open } };
}

/** Dawn's null backend: validates and compiles, computes nothing. For tests that need no GPU. */
export async function openNullAdapter(toggles: readonly string[] = []): Promise<Platform> {
  const gpu = await dawn(["backend=null", ...toggles.map((toggle) => `enable-dawn-features=${toggle}`)]);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new GpuError("Cannot open Dawn's null backend: it returned no adapter");
  return { name: "node", gpu, adapter, software: true, f16: true, advice: null, describe: "Dawn null backend" };
}

async function dawn(flags: string[]): Promise<GPU> {
  const { create, globals } = await import("webgpu").catch((error: Error) => {
    const machine = `${process.platform} ${process.arch}`;
    throw new GpuError(`Cannot load Dawn, the npm package webgpu, on ${machine}: ${error.message}`);
  });
  Object.assign(globalThis, globals); // GPUBufferUsage and similar globals
  const gpu = create(flags);
  instances.push(gpu);
  return gpu;
}
