// Halves a golden folder's gradients: tensors of F32 in files named `*grads*` become I16, as parts of their largest entry, which
// is stored beside them. Their rounding is 1.5e-5 of that entry; the tests allow 1e-4. A folder may share another's model.
//
//   npx tsx scripts/oracle/pack-golden.ts FOLDER...
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { bytesOf, encodeSafetensors, openSafetensors, type TensorData, toFloat32 } from "../../src/io/safetensors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";

/** @returns whether the file held gradients in F32 */
async function pack(path: string, name: string): Promise<boolean> {
  const folder = nodeFolder(path);
  const file = await openSafetensors(await folder.open(name));
  if (![...file.tensors.values()].every(({ dtype }) => dtype === "F32")) return false;
  const out: TensorData[] = [];
  for (const [key, { shape }] of file.tensors) {
    const values = toFloat32(await file.read(key), "F32");
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const steps = Int16Array.from(values, (value) => (largest > 0 ? Math.round((32767 * value) / largest) : 0));
    out.push({ name: key, shape, dtype: "I16", data: new Uint8Array(steps.buffer) });
    out.push({ name: `${key}.largest`, shape: [1], dtype: "F32", data: bytesOf(Float32Array.of(largest)) });
  }
  await folder.write(name, encodeSafetensors(out, { format: "pt" }));
  return true;
}

for (const path of process.argv.slice(2)) {
  for (const name of readdirSync(path).filter((file) => /grads.*\.safetensors$/.test(file))) {
    const before = statSync(join(path, name)).size;
    if (await pack(path, name))
      console.log(`${join(path, name)}: ${before} -> ${statSync(join(path, name)).size} bytes`);
  }
}
