import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { bundle } from "./harness.ts";

const KB = 1000;

/** Bytes of files as a server sends them. */
const sent = (files: Map<string, string | Uint8Array>, wanted: RegExp) =>
  [...files].filter(([name]) => wanted.test(name)).reduce((sum, [, content]) => sum + gzipSync(content).length, 0);

test("a page loads less than 345 kB of client and worker", async () => {
  const files = await bundle("tests/browser/pages/client.ts");
  const [client, worker] = [sent(files, /^page\.js$/), sent(files, /trainer\.worker.*\.js$/)];
  console.log(`gzipped: client ${(client / KB).toFixed(1)} kB, worker ${(worker / KB).toFixed(1)} kB`);
  expect(client).toBeGreaterThan(KB);
  expect(client).toBeLessThan(10 * KB);
  expect(worker).toBeGreaterThan(50 * KB);
  expect(worker).toBeLessThan(345 * KB); // three methods, three architectures, a vision tower, their kernels, tools, streams, documents
});
