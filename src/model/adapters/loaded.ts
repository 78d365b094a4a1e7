import { FormatError, ShapeError, UnsupportedError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { bytesOf, findNonFinite } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { Linear, Lora } from "../../kernels/matmul/linear.ts";
import { layersOf, type Module, modulesOf } from "../architectures/tensors.ts";
import { openAdapterFor } from "../files/load.ts";
import type { Transformer } from "../transformer.ts";
import { type LoraConfig, loraName, lora as plainLora } from "./lora.ts";
import type { Target } from "./targets.ts";

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

/** A lora_B of more columns, so that pairs of other ranks and factors share a kernel: what is added is 0. */
function widened(b: Float32Array, { out, r }: Target, rank: number, factor: number): Float32Array {
  if (r === rank && factor === 1) return b;
  const wide = new Float32Array(out * rank);
  for (let i = 0; i < out; i++) for (let k = 0; k < r; k++) wide[i * rank + k] = factor * b[i * r + k];
  return wide;
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
  const fill = async (tensor: Tensor, name: string, at: number, change = (data: Float32Array) => data) => {
    const data = change(await adapter.read(name));
    const bad = findNonFinite(bytesOf(data), "F32");
    if (bad >= 0) {
      throw new FormatError(`Cannot use adapter ${folder.path}: ${name} holds a value that is not finite, at ${bad}`);
    }
    gpu.write(tensor, data, 4 * at);
  };
  const targets = new Map(plainLora.targets(config, lora).map((target) => [target.path, target]));
  const put = async (linear: Linear, modules: readonly Module[]): Promise<Lora | null> => {
    const tuned = modules.flatMap(({ path }) => targets.get(path) ?? []);
    if (tuned.length === 0) return null;
    const r = Math.max(...tuned.map((target) => target.r));
    const [{ scale }] = tuned;
    const aAt = startsOf(tuned.map(({ inner }) => r * inner));
    const bAt = startsOf(tuned.map(({ out }) => out * r));
    const a = allocate(aAt[tuned.length], `${tuned[0].path}.lora_A`);
    const b = allocate(bAt[tuned.length], `${tuned[0].path}.lora_B`);
    await Promise.all(
      tuned.flatMap((target, i) => [
        fill(a, loraName(target, "lora_A"), aAt[i]),
        fill(b, loraName(target, "lora_B"), bAt[i], (data) => widened(data, target, r, target.scale / scale)),
      ]),
    );
    const parts = linear.parts.map((_, part) => {
      const i = tuned.findIndex(({ path }) => path === modules[part].path);
      return i < 0 ? null : { aAt: aAt[i], bAt: bAt[i], index: 0 };
    });
    return { a, b, r, scale, dropout: 0, parts }; // nothing is dropped: it only runs
  };
  const pairs: (Lora | null)[] = [];
  try {
    for (const { linear, modules } of linearsOf(model)) pairs.push(await put(linear, modules));
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
