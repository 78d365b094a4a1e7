import { GpuError } from "../../errors.ts";
import {
  describeAdapter,
  describePlatform,
  giveAdvice,
  type OpenOptions,
  type Platform,
  parseChoice,
  suits,
} from "../adapter.ts";
import { adviceFor, installMesa, remedy, useSwiftShader, useSystemVulkan, type VulkanHost } from "../node/vulkan.ts";

/** The few names of Deno's that are used here; its types clash with Node's. */
declare const Deno: {
  dlopen(path: string, symbols: Record<string, never>): { close(): void };
  env: { set(name: string, value: string): void; delete(name: string): void };
};

const FASTEST: GPURequestAdapterOptions = { powerPreference: "high-performance" };
const libraries: unknown[] = [];

const host: VulkanHost = {
  load(path) {
    try {
      libraries.push(Deno.dlopen(path, {}));
      return true;
    } catch {
      return false;
    }
  },
  setEnv(name, value) {
    if (value === null) Deno.env.delete(name);
    else Deno.env.set(name, value);
  },
};

/**
 * Opens the adapter of Deno's built-in WebGPU (wgpu): a real GPU or Mesa's renderer where a Vulkan driver is installed,
 * else SwiftShader with a line of advice. Needs `--allow-env --allow-read --allow-sys --allow-ffi`, or `-A`.
 *
 * Deno reads the drivers once a process, at the first request: the choice of the first call stays.
 *
 * @throws {GpuError} with what to install, when nothing computes here or the choice is not to be had
 */
export async function openDenoAdapter(options: OpenOptions = {}): Promise<Platform> {
  const env = options.env ?? process.env;
  const choice = options.adapter ?? parseChoice(env.QWENCH_ADAPTER);
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) throw new GpuError("Cannot use WebGPU: this Deno has no navigator.gpu; Deno 2 has it built in");
  if (process.platform === "linux" && !process.env.DENO_WEBGPU_BACKEND) {
    host.setEnv("DENO_WEBGPU_BACKEND", "vulkan"); // its OpenGL fallback lacks the limits that kernels need
  }

  if (choice === "swiftshader" || !(await useSystemVulkan(host, options.warn))) {
    if (choice === "gpu" || choice === "mesa") {
      throw new GpuError(`Cannot open adapter ${choice}: no Vulkan driver is installed. ${remedy(choice)}`);
    }
    await useSwiftShader(host, options);
  }
  const request = choice === "mesa" ? { forceFallbackAdapter: true } : FASTEST;
  const adapter = await gpu.requestAdapter(request);
  if (!adapter) {
    throw new GpuError(
      `Cannot open a WebGPU adapter: Deno accepts no driver here. Try QWENCH_ADAPTER=swiftshader. ${installMesa()}`,
    );
  }
  if (!suits(choice, adapter.info)) {
    throw new GpuError(
      `Cannot open adapter ${choice}: ${describeAdapter(adapter.info)} is the best there is. ${remedy(choice)}`,
    );
  }
  const advice = adviceFor(choice, adapter.info);
  giveAdvice(advice, options.warn);
  return describePlatform("deno", gpu, request, adapter, advice);
}
