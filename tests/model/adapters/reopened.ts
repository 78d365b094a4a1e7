import { expect } from "vitest";
import type { Gpu } from "../../../src/gpu/device.ts";
import type { Checkpoint } from "../../../src/io/checkpoint.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { dropAdapter, loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import type { Transformer } from "../../../src/model/transformer.ts";

/**
 * Expects the logits of training from a saved adapter: loaded as it was trained, bit for bit, and swapped into a model that was
 * loaded without an adapter, whose own logits come back afterwards.
 */
export async function expectReopened(
  gpu: Gpu,
  checkpoint: Checkpoint,
  output: Folder,
  { batch, want }: { batch: Parameters<Transformer["logits"]>[0]; want: Float32Array },
): Promise<void> {
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), output);
  const again = await loadModel(gpu, checkpoint, { trained: { lora } });
  await fillAdapter(gpu, again, adapter);
  expect([...(await again.logits(batch))]).toEqual([...want]);

  const beside = await loadModel(gpu, checkpoint);
  const before = [...(await beside.logits(batch))];
  expect(relativeError(before, want)).toBeGreaterThan(0.01);
  const loaded = await loadAdapter(beside, output);
  setAdapter(beside, loaded);
  expect(relativeError(await beside.logits(batch), want)).toBeLessThan(2e-6);
  setAdapter(beside, null);
  expect([...(await beside.logits(batch))]).toEqual(before);
  await dropAdapter(loaded);
}
