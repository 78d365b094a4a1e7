import { GpuError } from "../../errors.ts";
import { describePlatform, type Platform } from "../adapter.ts";
import { checkSecure } from "./secure.ts";

/** Milliseconds before asking a browser without an adapter again: its GPU process may be starting or restarting. */
const AGAIN_MS = 1000;
const FASTEST: GPURequestAdapterOptions = { powerPreference: "high-performance" };

/**
 * Opens the browser's adapter, in a page or a worker.
 *
 * @param nav holds `gpu`; default: the global navigator
 * @throws {GpuError} the message says whether the page, the browser or the machine is the cause
 */
export async function openBrowserAdapter(
  nav: Pick<Navigator, "gpu"> | undefined = globalThis.navigator,
): Promise<Platform> {
  checkSecure();
  const gpu = nav?.gpu;
  if (!gpu) {
    throw new GpuError(
      "Cannot use WebGPU: this browser does not support it. Chrome 113, Edge 113, Safari 26 and Firefox 141 or newer do; " +
        "on Linux, Chrome may need chrome://flags/#enable-unsafe-webgpu",
    );
  }
  let adapter = await gpu.requestAdapter(FASTEST);
  if (!adapter) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    adapter = await gpu.requestAdapter(FASTEST);
  }
  if (!adapter) {
    throw new GpuError(
      "Cannot use WebGPU: the browser found no usable GPU. Turn on hardware acceleration in its settings, or update " +
        "the graphics driver",
    );
  }
  const platform = await describePlatform("browser", gpu, FASTEST, adapter, null);
  if (!platform.software) return platform;
  return { ...platform, advice: "The browser computes on the CPU: turn on hardware acceleration to use the GPU" };
}
