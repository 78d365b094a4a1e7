import type { OpenOptions, Platform } from "./adapter.ts";

export type { AdapterChoice, OpenOptions, Platform } from "./adapter.ts";

/** Which of the three runtimes this is. */
export function runtimeName(): Platform["name"] {
  const globals = globalThis as { Deno?: unknown; process?: { versions?: { node?: string } }; document?: unknown };
  if (globals.Deno) return "deno";
  return globals.process?.versions?.node && !globals.document ? "node" : "browser";
}

/**
 * Opens the best adapter of the runtime at hand. Code that only ever runs in a browser imports `openBrowserAdapter`
 * itself, so that no bundler meets Node's modules.
 *
 * @throws {GpuError} with what to install or to turn on, when there is none
 */
export async function openAdapter(options: OpenOptions = {}): Promise<Platform> {
  const runtime = runtimeName();
  if (runtime === "deno") return (await import("./deno/deno.ts")).openDenoAdapter(options);
  if (runtime === "node") return (await import("./node/node.ts")).openNodeAdapter(options);
  return (await import("./browser/browser.ts")).openBrowserAdapter();
}
