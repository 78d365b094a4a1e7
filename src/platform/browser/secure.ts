import { GpuError } from "../../errors.ts";

/**
 * Refuses a page that came over plain http from another machine: WebGPU, locks and file storage are missing there.
 *
 * @throws {GpuError} with the address, and how to serve the page
 */
export function checkSecure(): void {
  if (globalThis.isSecureContext !== false) return;
  const { origin, hostname, port } = globalThis.location;
  throw new GpuError(
    `Cannot train on this page: browsers offer WebGPU and storage only to pages from https:// or localhost, and this one came ` +
      `from ${origin}; serve it over https, or open http://localhost:8000/ after ssh -L 8000:localhost:${port || 80} ${hostname}`,
  );
}
