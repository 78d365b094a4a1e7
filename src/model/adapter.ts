import { FormatError, ShapeError, UnsupportedError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { bytesOf, findNonFinite } from "../io/safetensors.ts";
import type { Folder } from "../io/storage.ts";
import type { LoraPair } from "../kernels/lora-linear.ts";
import { type LoraConfig, loraScale } from "./build.ts";
import { openAdapterFor } from "./load.ts";
import { loraName, type Projection } from "./names.ts";
import type { Transformer } from "./transformer.ts";

/** LoRA matrices on the GPU, for a model that was loaded without any. Several may wait beside the base at a time. */
export interface LoadedAdapter {
  readonly model: Transformer;
  readonly lora: LoraConfig;
  /** a layer each */
  readonly layers: readonly Partial<Record<Projection, LoraPair>>[];
  readonly tensors: readonly Tensor[];
}

/**
 * Puts the matrices of a PEFT folder on the GPU. The model answers as before until `setAdapter`.
 *
 * @throws {FormatError} an adapter for another base, or one that holds NaN or infinity
 * @throws {UnsupportedError} one that is more than plain LoRA
 */
export async function loadAdapter(model: Transformer, folder: Folder): Promise<LoadedAdapter> {
  const { gpu, config } = model;
  const { adapter, lora } = await openAdapterFor(config, folder);
  const tensors: Tensor[] = [];
  const upload = async (name: string): Promise<Tensor> => {
    const data = await adapter.read(name);
    const bad = findNonFinite(bytesOf(data), "F32");
    if (bad >= 0) {
      throw new FormatError(`Cannot use adapter ${folder.path}: ${name} holds a value that is not finite, at ${bad}`);
    }
    const tensor = gpu.upload(data, adapter.tensors.get(name)!.shape, "f32", name, "weights");
    tensors.push(tensor);
    return tensor;
  };
  const layers: Partial<Record<Projection, LoraPair>>[] = [];
  try {
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const pairs: Partial<Record<Projection, LoraPair>> = {};
      for (const projection of lora.target_modules) {
        const a = await upload(loraName(layer, projection, "lora_A"));
        const b = await upload(loraName(layer, projection, "lora_B"));
        pairs[projection] = { a, b, scale: loraScale(lora), dropout: 0, index: 0 }; // nothing is dropped: it only runs
      }
      layers.push(pairs);
    }
  } catch (error) {
    gpu.drop(...tensors);
    throw error;
  }
  return { model, lora, layers, tensors };
}

/**
 * Puts an adapter on a model, swaps it for another, or with null takes it off; the base stays where it is. Takes effect
 * with what is recorded next.
 *
 * @throws {ShapeError} an adapter that was loaded for another model
 * @throws {UnsupportedError} a model that is trained: its own parameters are what it runs with
 */
export function setAdapter(model: Transformer, adapter: LoadedAdapter | null): void {
  if (model.store) throw new UnsupportedError("Cannot swap the adapter of a model that is loaded to be trained");
  if (adapter && adapter.model !== model) {
    throw new ShapeError("Cannot put an adapter on a model that it was not loaded for: load it again for this one");
  }
  model.weights.blocks.forEach(({ linears }, layer) => {
    for (const [projection, linear] of Object.entries(linears)) {
      linear.lora = adapter?.layers[layer][projection as Projection] ?? null;
    }
  });
}

/** Frees an adapter's memory once the GPU is done with it; it must no longer be on. */
export async function dropAdapter({ model, tensors }: LoadedAdapter): Promise<void> {
  await model.gpu.settle();
  model.gpu.drop(...tensors);
}
