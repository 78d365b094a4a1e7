import { FormatError, ShapeError, UnsupportedError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { bytesOf, findNonFinite } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { Lora } from "../../kernels/matmul/linear.ts";
import { type LoraConfig, loraScale } from "../adapters/lora.ts";
import { openAdapterFor } from "../files/load.ts";
import { eachGroup, type Group, loraName, projectionShape } from "../names.ts";
import type { Transformer } from "../transformer.ts";

/** LoRA matrices on the GPU, for a model that was loaded without any. Several may wait beside the base at a time. */
export interface LoadedAdapter {
  readonly model: Transformer;
  readonly lora: LoraConfig;
  /** for each layer what goes on each of its groups' linears */
  readonly layers: readonly Record<Group, readonly (Lora | null)[]>[];
  readonly tensors: readonly Tensor[];
}

/** Where matrices of so many elements begin in one buffer, and its end: multiples of 4, for loads of four. */
function startsOf(sizes: readonly number[]): number[] {
  const starts = [0];
  for (const [i, size] of sizes.entries()) starts.push(Math.ceil((starts[i] + size) / 4) * 4);
  return starts;
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
  const allocate = (count: number, label: string): Tensor => {
    const tensor = gpu.persistent([count], "f32", label, "weights");
    tensors.push(tensor);
    return tensor;
  };
  const fill = async (tensor: Tensor, name: string, at: number) => {
    const data = await adapter.read(name);
    const bad = findNonFinite(bytesOf(data), "F32");
    if (bad >= 0) {
      throw new FormatError(`Cannot use adapter ${folder.path}: ${name} holds a value that is not finite, at ${bad}`);
    }
    gpu.write(tensor, data, 4 * at);
  };
  const { r } = lora;
  const layers: Record<Group, (Lora | null)[]>[] = [];
  try {
    for (const [layer, block] of model.weights.blocks.entries()) {
      const made = eachGroup((): (Lora | null)[] => []);
      const work: Promise<void>[] = [];
      eachGroup((group, projections) => {
        let next = 0;
        for (const {
          parts: { length },
        } of block.linears[group]) {
          const names = projections.slice(next, (next += length));
          const tuned = names.filter((name) => lora.target_modules.includes(name));
          if (tuned.length === 0) {
            made[group].push(null);
            continue;
          }
          const shapes = tuned.map((name) => projectionShape(config, name));
          const aAt = startsOf(shapes.map(([, inner]) => r * inner));
          const bAt = startsOf(shapes.map(([out]) => out * r));
          const a = allocate(aAt[tuned.length], `layers.${layer}.${group}.lora_A`);
          const b = allocate(bAt[tuned.length], `layers.${layer}.${group}.lora_B`);
          tuned.forEach((name, i) => {
            work.push(
              fill(a, loraName(layer, name, "lora_A"), aAt[i]),
              fill(b, loraName(layer, name, "lora_B"), bAt[i]),
            );
          });
          const parts = names.map((name) => {
            const i = tuned.indexOf(name);
            return i < 0 ? null : { aAt: aAt[i], bAt: bAt[i], index: 0 };
          });
          made[group].push({ a, b, r, scale: loraScale(lora), dropout: 0, parts }); // nothing is dropped: it only runs
        }
      });
      await Promise.all(work);
      layers.push(made);
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
    eachGroup((group) =>
      linears[group].forEach((linear, i) => {
        linear.lora = adapter?.layers[layer][group][i] ?? null;
      }),
    );
  });
}

/** Frees an adapter's memory once the GPU is done with it; it must no longer be on. */
export async function dropAdapter({ model, tensors }: LoadedAdapter): Promise<void> {
  await model.gpu.settle();
  model.gpu.drop(...tensors);
}
