import type { OpenOptions, Platform } from "./adapter.ts";

export type { AdapterChoice, OpenOptions, Platform } from "./adapter.ts";

/** The three runtimes. */
export function runtimeName(): Platform["name"] {
  const globals = globalThis as { Deno?: unknown; process?: { versions?: { node?: string } }; document?: unknown };
  if (globals.Deno) return "deno";
  return globals.process?.versions?.node && !globals.document ? "node" : "browser";
}

/**
 * Opens the best adapter of the current runtime. Code for browsers only should import `openBrowserAdapter` instead, so that
 * bundlers do not see Node's modules.
 *
 * @throws {GpuError} if there is no adapter; the message says what to install or turn on
 */
export async function openAdapter(options: OpenOptions = {}): Promise<Platform> {
  const runtime = runtimeName();
  if (runtime === "deno") return (await import("./deno/deno.ts")).openDenoAdapter(options);
  if (runtime === "node") return (await import("./node/node.ts")).openNodeAdapter(options);
  return (await import("./browser/browser.ts")).openBrowserAdapter();
}
