import type { DeviceInfo } from "../../src/client/types.ts";
import { BusyError } from "../../src/errors.ts";
import { type Gpu, requestGpu } from "../../src/gpu/device.ts";
import type { Platform } from "../../src/platform/adapter.ts";
import { openBrowserAdapter } from "../../src/platform/browser/browser.ts";

export interface OpenGpu {
  gpu: Gpu;
  platform: Platform;
}

/** The worker's GPU. It opens on first use and reopens after a loss. It has one user at a time. */
export class GpuHolder {
  private opened: Promise<OpenGpu> | null = null;
  private user: string | null = null;
  /** work of low priority that has the GPU: how to end it, and when it has ended */
  private guest: { stop: AbortController; ended: Promise<void> } | null = null;
  /** what the last user left on the GPU for the next user, such as a chat's model */
  kept: unknown = null;
  private readonly onLost: (why: string) => void;

  constructor(onLost: (why: string) => void) {
    this.onLost = onLost;
  }

  /** Opens the GPU if needed, without reserving it. @throws {GpuError} the message says what to do */
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
   * Gives one user exclusive use of the GPU. `end` releases it, and closes it if the device has failed.
   *
   * @param what the user's name, written to follow "The GPU is in use: "
   * @param stop aborted when another user asks for the GPU, who then waits for `end`; absent: others are refused
   * @throws {BusyError} while another user has it
   */
  async lend(what: string, stop?: AbortController): Promise<OpenGpu & { end(): void }> {
    if (this.guest && !stop) {
      this.guest.stop.abort(new BusyError(`${what} needs the GPU`));
      await this.guest.ended;
    }
    if (this.user) throw new BusyError(`The GPU is in use: ${this.user}. Pause or end that first`);
    this.user = what;
    let leave = () => {};
    if (stop) this.guest = { stop, ended: new Promise((resolve) => (leave = resolve)) };
    const free = () => {
      this.user = null;
      if (stop) this.guest = null;
      leave();
    };
    try {
      const opening = this.get();
      const opened = await opening;
      return {
        ...opened,
        end: () => {
          free();
          try {
            opened.gpu.check();
          } catch {
            this.forget(opening);
            opened.gpu.destroy();
          }
        },
      };
    } catch (error) {
      free();
      throw error;
    }
  }

  private async request(): Promise<OpenGpu> {
    const platform = await openBrowserAdapter();
    const gpu = await requestGpu(platform.adapter, { disable: platform.f16 ? [] : ["f16"] });
    const mine = this.opened;
    void gpu.device.lost.then(() => {
      if (!this.forget(mine)) return; // closed intentionally
      this.onLost(faultOf(gpu) ?? "The GPU was lost");
    });
    return { gpu, platform };
  }

  /** @returns whether it was the current device */
  private forget(opening: Promise<OpenGpu> | null): boolean {
    if (this.opened !== opening) return false;
    this.opened = null;
    this.kept = null;
    return true;
  }
}

/** The message of a device's first error, or null. */
export function faultOf(gpu: Gpu): string | null {
  try {
    gpu.check();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
