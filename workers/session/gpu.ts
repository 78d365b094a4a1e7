import type { DeviceInfo } from "../../src/client/types.ts";
import { BusyError } from "../../src/errors.ts";
import { type Gpu, requestGpu } from "../../src/gpu/device.ts";
import type { Platform } from "../../src/platform/adapter.ts";
import { openBrowserAdapter } from "../../src/platform/browser/browser.ts";

export interface OpenGpu {
  gpu: Gpu;
  platform: Platform;
}

/** The worker's GPU: opened when it is first needed, and again after it was lost; one user at a time. */
export class GpuHolder {
  private opened: Promise<OpenGpu> | null = null;
  private user: string | null = null;
  /** what the last user left on the GPU for the next one, such as the model of a chat */
  kept: unknown = null;
  private readonly onLost: (why: string) => void;

  constructor(onLost: (why: string) => void) {
    this.onLost = onLost;
  }

  /** The GPU, for whoever only asks about it. @throws {GpuError} with what to do */
  get(): Promise<OpenGpu> {
    if (!this.opened) {
      const opening = this.request();
      this.opened = opening;
      opening.catch(() => this.forget(opening));
    }
    return this.opened;
  }

  async info(): Promise<DeviceInfo> {
    const { gpu, platform } = await this.get();
    const { f16, subgroups } = gpu.features;
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits;
    return {
      adapter: platform.describe,
      software: platform.software,
      advice: platform.advice,
      features: { f16, subgroups },
      limits: { maxBufferSize, maxStorageBufferBindingSize },
    };
  }

  /**
   * Lends the GPU to one user. `end` takes it back, and closes it if it is no longer sound.
   *
   * @param what the user, to follow "The GPU is in use:"
   * @throws {BusyError} while another has it
   */
  async lend(what: string): Promise<OpenGpu & { end(): void }> {
    if (this.user) throw new BusyError(`The GPU is in use: ${this.user}. Pause or end that first`);
    this.user = what;
    try {
      const opening = this.get();
      const opened = await opening;
      return {
        ...opened,
        end: () => {
          this.user = null;
          try {
            opened.gpu.check();
          } catch {
            this.forget(opening);
            opened.gpu.destroy();
          }
        },
      };
    } catch (error) {
      this.user = null;
      throw error;
    }
  }

  private async request(): Promise<OpenGpu> {
    const platform = await openBrowserAdapter();
    const gpu = await requestGpu(platform.adapter, { disable: platform.f16 ? [] : ["f16"] });
    const mine = this.opened;
    void gpu.device.lost.then(() => {
      if (!this.forget(mine)) return; // closed on purpose
      this.onLost(faultOf(gpu) ?? "The GPU was lost");
    });
    return { gpu, platform };
  }

  /** @returns whether it was the one in use */
  private forget(opening: Promise<OpenGpu> | null): boolean {
    if (this.opened !== opening) return false;
    this.opened = null;
    this.kept = null;
    return true;
  }
}

/** The first fault of a device, in its own words; null while it is sound. */
export function faultOf(gpu: Gpu): string | null {
  try {
    gpu.check();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
