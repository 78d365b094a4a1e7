import type { Gpu } from "../../src/gpu/device.ts";
import type { Checkpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import {
  bytesOf,
  encodeSafetensors,
  f32ToBf16,
  f32ToF16,
  type TensorData,
  toFloat32,
} from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { loraName } from "../../src/model/adapters/lora.ts";
import { targetsOf } from "../../src/model/adapters/targets.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import type { FloatDtype } from "../../src/model/files/merge.ts";
import { openModel } from "../../src/model/files/open.ts";
import { writeMerged } from "../../src/model/files/write-merged.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { type GoldenBatch, type ParityRow, readBatch, readTensors, unpad } from "./parity-model.ts";

const DTYPES: readonly FloatDtype[] = ["F32", "F16", "BF16"];
/** The tolerance of any forward pass in f32. */
const TOLERANCE = 1e-4;

async function lossOf(model: Transformer, batch: GoldenBatch): Promise<number> {
  const targets = shiftedTargets(batch, batch.labels);
  const record = model.gpu.recorder();
  const logp = record.read(model.run(record, batch, targets, {}, null)!.logp);
  record.submit();
  return -new Float32Array(await logp).reduce((sum, v) => sum + v, 0) / targets.rows.length;
}

/** Values rounded to a dtype and widened again. */
function rounded(values: Float32Array, dtype: FloatDtype): Float32Array {
  if (dtype === "F32") return values;
  return toFloat32(bytesOf(dtype === "F16" ? f32ToF16(values) : f32ToBf16(values)), dtype);
}

/** W + s·B·A of every tensor, summed in float64 and rounded once: with plain loops, from the files. */
async function mergedByHand(checkpoint: Checkpoint, adapterFolder: Folder): Promise<Map<string, Float32Array>> {
  const config = parseModelConfig(checkpoint.config);
  const { adapter, lora } = await openAdapterFor(config, adapterFolder);
  const targets = new Map(targetsOf(config, lora).map((target) => [`${target.path}.weight`, target]));
  const all = new Map<string, Float32Array>();
  for (const [name, { dtype }] of checkpoint.weights) {
    const values = Float64Array.from(toFloat32(await checkpoint.read(name), dtype as FloatDtype));
    const target = targets.get(name);
    if (target) {
      const { r, inner, out, scale } = target;
      const [a, b] = [await adapter.read(loraName(target, "lora_A")), await adapter.read(loraName(target, "lora_B"))];
      const m = target.dora ? await adapter.read(loraName(target, "lora_magnitude_vector")) : null;
      for (let i = 0; i < out; i++) {
        for (let j = 0; j < inner; j++) {
          let sum = 0;
          for (let k = 0; k < r; k++) sum += b[i * r + k] * a[k * inner + j];
          values[i * inner + j] += scale * sum;
        }
        if (!m) continue;
        const row = values.subarray(i * inner, (i + 1) * inner);
        const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
        row.forEach((v, j) => {
          row[j] = (m[i] * v) / norm;
        });
      }
    }
    all.set(name, Float32Array.from(values));
  }
  return all;
}

/**
 * Merges the adapter of a model case into its base, writes it, and compares it with the merge by hand rounded to the same
 * type, weight by weight and in its logits: the rounding of a 16-bit type is not an error of the merge. In f32, it is
 * also compared with the adapter itself.
 */
export async function mergeParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const golden = JSON.parse(await folder.readText("case.json"));
  const batch = await readBatch(folder);
  const vision = batch.images !== undefined;
  const { checkpoint } = await openModel(folder);
  const adapter = folder.folder("adapter");
  const byHand = await mergedByHand(checkpoint, adapter);
  const want = (await readTensors(folder, "lora_outputs.safetensors")).get("logits")!.data;
  const rows: ParityRow[] = [];
  for (const dtype of DTYPES) {
    const add = (check: string, worst: number) =>
      rows.push({ case: name, check: `merged in ${dtype} ${check}`, worst, tolerance: TOLERANCE });
    const merged = memoryFolder(`${name} merged`);
    await writeMerged(merged, checkpoint, adapter, { dtype });
    const opened = (await openModel(merged)).checkpoint;
    let worst = 0;
    const tensors: TensorData[] = [];
    for (const [key, values] of byHand) {
      const should = rounded(values, dtype);
      worst = Math.max(worst, relativeError(toFloat32(await opened.read(key), dtype), should));
      tensors.push({ name: key, dtype: "F32", shape: checkpoint.weights.get(key)!.shape, data: bytesOf(should) });
    }
    // a value between two neighbours of the dtype may be rounded either way: allow one step
    const step = { F32: TOLERANCE, F16: 2 ** -10, BF16: 2 ** -7 }[dtype];
    rows.push({ case: name, check: `merged in ${dtype} weights`, worst, tolerance: step });
    const model = await loadModel(gpu, opened, { vision });
    const logits = await model.logits(batch);
    if (dtype === "F32") {
      add("logits", relativeError(logits, unpad(want, batch, batch.width, model.config.vocab_size, 0)));
      add("loss", Math.abs((await lossOf(model, batch)) - golden.merged_loss));
    } else {
      const hand = memoryFolder(`${name} merged by hand`);
      await hand.write("model.safetensors", encodeSafetensors(tensors));
      await hand.write("config.json", JSON.stringify(checkpoint.config));
      const other = await loadModel(gpu, (await openModel(hand)).checkpoint, { vision });
      add("logits", relativeError(logits, await other.logits(batch)));
      add("loss", Math.abs((await lossOf(model, batch)) - (await lossOf(other, batch))));
    }
  }
  return rows;
}
