import { GpuError } from "../../errors.ts";

/**
 * Rejects a page served over plain http from another machine, because WebGPU, locks and file storage are missing there.
 *
 * @throws {GpuError} the message names the address and says how to serve the page
 */
export function checkSecure(): void {
  if (globalThis.isSecureContext !== false) return;
  const { origin, hostname, port } = globalThis.location;
  throw new GpuError(
    `Cannot train on this page: browsers offer WebGPU and storage only to pages from https:// or localhost, and this page came ` +
      `from ${origin}; serve it over https, or open http://localhost:8000/ after ssh -L 8000:localhost:${port || 80} ${hostname}`,
  );
}
