import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { GpuError } from "../../errors.ts";
import { type AdapterChoice, rendererOf } from "../adapter.ts";
import { homeFolder } from "./cache-folder.ts";
import { type SwiftShader, unpackSwiftShader } from "./swiftshader.ts";

/**
 * The environment of Vulkan's loader on Linux. Dawn and wgpu both open `libvulkan.so.1` by name and get a library of that name
 * that the process has already loaded. Loading SwiftShader's copy first therefore avoids a restart with LD_LIBRARY_PATH.
 *
 * @param load loads a shared library for the rest of the process; returns false on failure
 */
export interface VulkanHost {
  load(path: string): boolean;
  setEnv(name: string, value: string | null): void;
}

const SYSTEM_LOADER = "libvulkan.so.1";

/** Whether a Vulkan driver is installed, by the loader's own search rules. Asking the loader itself would print warnings. */
export function hasVulkanDriver(env: Record<string, string | undefined> = process.env): boolean {
  const named = env.VK_DRIVER_FILES || env.VK_ICD_FILENAMES;
  if (named) return named.split(delimiter).some((path) => existsSync(path));
  const data = env.XDG_DATA_DIRS || "/usr/local/share:/usr/share";
  const config = env.XDG_CONFIG_DIRS || "/etc/xdg";
  const home = homeFolder(env);
  const roots = [
    env.XDG_CONFIG_HOME || (home && join(home, ".config")),
    env.XDG_DATA_HOME || (home && join(home, ".local/share")),
    ...config.split(":"),
    ...data.split(":"),
    "/usr/local/etc",
    "/etc",
  ];
  return roots.some((root) => {
    if (!root) return false;
    try {
      return readdirSync(join(root, "vulkan/icd.d")).some((file) => file.endsWith(".json"));
    } catch {
      return false;
    }
  });
}

/** Makes the installed drivers reachable. Returns false if there are no drivers, or no loader for them. */
export async function useSystemVulkan(host: VulkanHost, warn?: (line: string) => void): Promise<boolean> {
  if (process.platform !== "linux") return true; // Metal and Direct3D need no setup
  runtimeFolder(host);
  if (!hasVulkanDriver()) return false;
  if (host.load(SYSTEM_LOADER)) return true;
  try {
    return host.load((await unpackSwiftShader({ warn })).loader); // a container with a GPU's driver but no loader
  } catch {
    return false;
  }
}

/** Makes SwiftShader the only Vulkan driver of this process. @throws {GpuError | NetworkError} if SwiftShader is unavailable */
export async function useSwiftShader(
  host: VulkanHost,
  { warn, fetch = true }: { warn?: (line: string) => void; fetch?: boolean } = {},
): Promise<SwiftShader> {
  const refuse = () => Promise.reject(new GpuError("SwiftShader is not installed"));
  const unpacked = await unpackSwiftShader(fetch ? { warn } : { warn: () => {}, download: refuse });
  runtimeFolder(host);
  host.setEnv("VK_DRIVER_FILES", null); // the newer name would take precedence
  host.setEnv("VK_ICD_FILENAMES", unpacked.manifest);
  if (!host.load(SYSTEM_LOADER)) host.load(unpacked.loader);
  return unpacked;
}

function runtimeFolder(host: VulkanHost): void {
  if (!process.env.XDG_RUNTIME_DIR) host.setEnv("XDG_RUNTIME_DIR", tmpdir()); // Mesa requires it
}

/** The advice for an automatically chosen adapter: null unless it is the slow fallback. */
export function adviceFor(choice: AdapterChoice, info: GPUAdapterInfo): string | null {
  const slow = rendererOf(info) === "swiftshader";
  return choice === "auto" && slow ? mesaAdvice() : null;
}

/** One line that tells a user of the slow fallback how to get Mesa's renderer, on this system. */
export function mesaAdvice(osRelease: string = readOsRelease()): string {
  return `No GPU found: computing on SwiftShader, 5 to 20 times slower than Mesa's software renderer. ${installMesa(osRelease)}`;
}

/** How to install a Mesa that Dawn accepts, given the text of /etc/os-release. */
export function installMesa(osRelease: string = readOsRelease()): string {
  const field = (name: string) => osRelease.match(new RegExp(`^${name}="?([^"\n]*)`, "m"))?.[1] ?? "";
  const family = `${field("ID")} ${field("ID_LIKE")}`;
  if (field("VERSION_CODENAME") === "bookworm" && /debian/.test(family)) {
    return (
      "Install Mesa's: echo 'deb http://deb.debian.org/debian bookworm-backports main' | " +
      "sudo tee /etc/apt/sources.list.d/bookworm-backports.list && sudo apt-get update && " +
      "sudo apt-get install -y -t bookworm-backports mesa-vulkan-drivers libvulkan1"
    );
  }
  if (/debian|ubuntu/.test(family)) return "Install Mesa's: sudo apt-get install -y mesa-vulkan-drivers libvulkan1";
  if (/fedora|rhel/.test(family)) return "Install Mesa's: sudo dnf install -y mesa-vulkan-drivers vulkan-loader";
  if (/arch/.test(family)) return "Install Mesa's: sudo pacman -S vulkan-swrast vulkan-icd-loader";
  return "Install Mesa's Vulkan drivers (24 or newer) and a Vulkan loader, or a GPU's own driver.";
}

/** What to install for an adapter that the user chose by name. */
export function remedy(choice: AdapterChoice): string {
  return choice === "gpu" ? "Install the GPU's own Vulkan driver, or leave QWENCH_ADAPTER unset." : installMesa();
}

function readOsRelease(): string {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}
