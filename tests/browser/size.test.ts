import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { bundle } from "./harness.ts";

const KB = 1000;

/** Bytes of a script and of all that it imports at once, as a server sends them; import() loads others when they are needed. */
function sent(files: Map<string, string | Uint8Array>, wanted: RegExp): number {
  const names = new Set([...files.keys()].filter((name) => wanted.test(name)));
  for (const name of names) {
    const imports = /(?:^|[;}\s])(?:import|export)[^("';]*["']\.\/([^"']+\.js)["']/g;
    for (const [, other] of String(files.get(name)).matchAll(imports)) names.add(name.replace(/[^/]*$/, other));
  }
  return [...names].reduce((sum, name) => sum + gzipSync(files.get(name)!).length, 0);
}

test("a page loads less than 420 kB of client and worker", async () => {
  const files = await bundle("tests/browser/pages/client.ts");
  const [client, worker] = [sent(files, /^page\.js$/), sent(files, /trainer\.worker.*\.js$/)];
  console.log(`gzipped: client ${(client / KB).toFixed(1)} kB, worker ${(worker / KB).toFixed(1)} kB`);
  expect(client).toBeGreaterThan(KB);
  expect(client).toBeLessThan(10 * KB);
  expect(worker).toBeGreaterThan(50 * KB);
  expect(worker).toBeLessThan(420 * KB); // three methods, three architectures, a vision tower, their kernels, forecasts of memory and time, tools, streams, documents
});
