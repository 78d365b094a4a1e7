import { readAbsmax } from "../../../src/io/bitsandbytes.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { dequantizeNf4 } from "../../../src/io/nf4.ts";
import { readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import { toFloat32 } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { loraName } from "../../../src/model/adapters/lora.ts";
import { modulesOf } from "../../../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { PROJECTIONS } from "../../model/projections.ts";
import { integers } from "../../train/fixtures.ts";

export const R = 4;
export const ALPHA = 10;

/** A random adapter for a model, B ≠ 0. `size`: how far it takes the model from its base. */
export async function adapterFor(
  model: Folder,
  {
    modules = PROJECTIONS as readonly string[],
    use_rslora = true,
    size = 0.2,
    base = "",
    folder = memoryFolder("adapter") as Folder,
  } = {},
): Promise<Folder> {
  const config = parseModelConfig((await openCheckpoint(model)).config);
  const next = integers(5);
  const random = (count: number) => Float32Array.from({ length: count }, () => size * (next(2000) / 1000 - 1));
  const targets = modulesOf(config).filter(({ name }) => modules.includes(name));
  const tensors = targets.flatMap((module) => [
    { name: loraName(module, "lora_A"), shape: [R, module.inner], data: random(R * module.inner) },
    { name: loraName(module, "lora_B"), shape: [module.out, R], data: random(module.out * R) },
  ]);
  const lora = { r: R, lora_alpha: ALPHA, lora_dropout: 0, use_rslora, base_model_name_or_path: base };
  await writeAdapter(folder, { ...lora, target_modules: [...modules] }, tensors);
  return folder;
}

/** W + s·B·A of every tensor by plain sums in float64, from the files. */
export async function mergedByHand(model: Folder, adapter: Folder | null): Promise<Map<string, Float64Array>> {
  const base = await openCheckpoint(model);
  const opened = adapter && (await readAdapter(adapter));
  const scale = ALPHA / (opened?.config.use_rslora ? Math.sqrt(R) : R);
  const out = new Map<string, Float64Array>();
  for (const [name, { shape }] of base.weights) {
    const nf4 = base.nf4.get(name);
    const count = shape.reduce((n, extent) => n * extent, 1);
    const w = nf4
      ? dequantizeNf4(await base.read(name), await readAbsmax(nf4), count)
      : toFloat32(await base.read(name), base.tensors.get(name)!.dtype);
    const values = Float64Array.from(w);
    const lora = (matrix: string) => `base_model.model.${name.replace(/weight$/, `lora_${matrix}.weight`)}`;
    if (opened?.tensors.has(lora("A"))) {
      const [a, b] = [await opened.read(lora("A")), await opened.read(lora("B"))];
      const inner = shape[1];
      for (let i = 0; i < count; i++) {
        let sum = 0;
        for (let k = 0; k < R; k++) sum += b[Math.floor(i / inner) * R + k] * a[k * inner + (i % inner)];
        values[i] += scale * sum;
      }
    }
    out.set(name, values);
  }
  return out;
}

/** A small byte-level tokenizer with Qwen's pattern: the embedded model's. */
export async function copyTinyTokenizer(folder: Folder): Promise<void> {
  const tiny = nodeFolder(new URL("../../../assets/tiny", import.meta.url).pathname);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) await folder.write(name, await tiny.readText(name));
}
