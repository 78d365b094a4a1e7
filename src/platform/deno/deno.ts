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

/** The few Deno names used here. Deno's own types conflict with Node's. */
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
 * Opens the adapter of Deno's built-in WebGPU (wgpu): a real GPU or Mesa's renderer if a Vulkan driver is installed, else
 * SwiftShader with a line of advice. Needs `--allow-env --allow-read --allow-sys --allow-ffi`, or `-A`.
 *
 * Deno loads drivers only once per process, at the first request, so the first call's choice stays in effect.
 *
 * @throws {GpuError} if there is no adapter or the choice is unavailable; the message says what to install
 */
export async function openDenoAdapter(options: OpenOptions = {}): Promise<Platform> {
  const env = options.env ?? process.env;
  const choice = options.adapter ?? parseChoice(env.QWENCH_ADAPTER);
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) throw new GpuError("Cannot use WebGPU: this Deno has no navigator.gpu; Deno 2 has it built in");
  if (process.platform === "linux" && !process.env.DENO_WEBGPU_BACKEND) {
    host.setEnv("DENO_WEBGPU_BACKEND", "vulkan"); // Deno's OpenGL fallback has lower limits than the kernels need
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
      `Cannot open a WebGPU adapter: Deno found no usable driver. Try QWENCH_ADAPTER=swiftshader. ${installMesa()}`,
    );
  }
  if (!suits(choice, adapter.info)) {
    throw new GpuError(
      `Cannot open adapter ${choice}: the best available is ${describeAdapter(adapter.info)}. ${remedy(choice)}`,
    );
  }
  const advice = adviceFor(choice, adapter.info);
  giveAdvice(advice, options.warn);
  return describePlatform("deno", gpu, request, adapter, advice);
}
