import { FormatError, ShapeError, UnsupportedError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { bytesOf, findNonFinite } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { Linear, Lora } from "../../kernels/matmul/linear.ts";
import { layersOf, type Module, modulesOf } from "../architectures/tensors.ts";
import { openAdapterFor } from "../files/load.ts";
import type { Transformer } from "../transformer.ts";
import { type LoraConfig, loraName, loraScale } from "./lora.ts";

/** LoRA matrices on the GPU, for a model that was loaded without any. Several may wait beside the base at a time. */
export interface LoadedAdapter {
  readonly model: Transformer;
  readonly lora: LoraConfig;
  /** what goes on each of the model's linears, in order */
  readonly pairs: readonly (Lora | null)[];
  readonly tensors: readonly Tensor[];
}

/** Every `Linear` of a model, in order, with the linear layers that it computes. */
function linearsOf({ config, weights }: Transformer): { linear: Linear; modules: Module[] }[] {
  const modules = modulesOf(config);
  let at = 0;
  return layersOf(config).flatMap(({ sublayers }, layer) =>
    sublayers.flatMap(({ groups }, i) =>
      Object.keys(groups).flatMap((group) =>
        weights.blocks[layer][i].body.linears[group].map((linear) => {
          return { linear, modules: modules.slice(at, (at += linear.parts.length)) };
        }),
      ),
    ),
  );
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
  const pairs: (Lora | null)[] = [];
  try {
    for (const { modules } of linearsOf(model)) {
      const tuned = modules.filter(({ name }) => lora.target_modules.includes(name));
      if (tuned.length === 0) {
        pairs.push(null);
        continue;
      }
      const aAt = startsOf(tuned.map(({ inner }) => r * inner));
      const bAt = startsOf(tuned.map(({ out }) => out * r));
      const a = allocate(aAt[tuned.length], `${tuned[0].path}.lora_A`);
      const b = allocate(bAt[tuned.length], `${tuned[0].path}.lora_B`);
      await Promise.all(
        tuned.flatMap((module, i) => [
          fill(a, loraName(module, "lora_A"), aAt[i]),
          fill(b, loraName(module, "lora_B"), bAt[i]),
        ]),
      );
      const parts = modules.map((module) => {
        const i = tuned.indexOf(module);
        return i < 0 ? null : { aAt: aAt[i], bAt: bAt[i], index: 0 };
      });
      pairs.push({ a, b, r, scale: loraScale(lora), dropout: 0, parts }); // nothing is dropped: it only runs
    }
  } catch (error) {
    gpu.drop(...tensors);
    throw error;
  }
  return { model, lora, pairs, tensors };
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
  linearsOf(model).forEach(({ linear }, i) => {
    linear.lora = adapter?.pairs[i] ?? null;
  });
}

/** Frees an adapter's memory once the GPU is done with it; it must no longer be on. */
export async function dropAdapter({ model, tensors }: LoadedAdapter): Promise<void> {
  await model.gpu.settle();
  model.gpu.drop(...tensors);
}
