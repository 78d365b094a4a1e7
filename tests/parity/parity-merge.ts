import type { Gpu } from "../../src/gpu/device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { loadModel } from "../../src/model/files/load.ts";
import type { FloatDtype } from "../../src/model/files/merge.ts";
import { writeMerged } from "../../src/model/files/write-merged.ts";
import { shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import { type GoldenBatch, type ParityRow, readBatch, readTensors, unpad } from "./parity-model.ts";

/**
 * How far a merged model may be from the adapter's own logits and loss, by what its weights are rounded to: f32 as any
 * forward pass; bf16 keeps 8 bits of each weight, f16 11, which the cases' random layers turn into 1 % and 0.1 %.
 */
const CHECKS: readonly { dtype: FloatDtype; logits: number; loss: number }[] = [
  { dtype: "F32", logits: 1e-4, loss: 1e-4 },
  { dtype: "F16", logits: 2e-3, loss: 2e-4 },
  { dtype: "BF16", logits: 1.5e-2, loss: 2e-3 },
];

async function lossOf(model: Transformer, batch: GoldenBatch): Promise<number> {
  const targets = shiftedTargets(batch, batch.labels);
  const record = model.gpu.recorder();
  const logp = record.read(model.run(record, batch, targets, {}, null)!.logp);
  record.submit();
  return -new Float32Array(await logp).reduce((sum, v) => sum + v, 0) / targets.rows.length;
}

/** Merges the adapter of a model case into its base, writes it, loads it, and compares it with the adapter. */
export async function mergeParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const golden = JSON.parse(await folder.readText("case.json"));
  const batch = await readBatch(folder);
  const checkpoint = await openCheckpoint(folder);
  const want = (await readTensors(folder, "lora_outputs.safetensors")).get("logits")!.data;
  const rows: ParityRow[] = [];
  for (const { dtype, ...tolerance } of CHECKS) {
    const merged = memoryFolder(`${name} merged`);
    await writeMerged(merged, checkpoint, folder.folder("adapter"), { dtype });
    const model = await loadModel(gpu, await openCheckpoint(merged));
    const logits = unpad(want, batch, batch.width, model.config.vocab_size, 0);
    const add = (check: "logits" | "loss", worst: number) =>
      rows.push({ case: name, check: `merged in ${dtype} ${check}`, worst, tolerance: tolerance[check] });
    add("logits", relativeError(await model.logits(batch), logits));
    add("loss", Math.abs((await lossOf(model, batch)) - golden.merged_loss));
  }
  return rows;
}
