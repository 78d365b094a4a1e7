import type { WeightShapes } from "../../kernels/matmul/matmul-tune.ts";
import type { LayerSpec, ModelConfig, NormSpec, Projection } from "./architecture.ts";
import { architectureOf } from "./registry.ts";

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** A tensor of a checkpoint. */
export interface TensorSpec {
  name: string;
  shape: readonly number[];
  /** the tensor's role: `weight` and `bias` belong to a linear layer */
  role: "embedding" | "head" | "norm" | "weight" | "bias";
}

/** A linear layer of a model, in one of its layers. */
export interface Module extends Projection {
  layer: number;
  /** full name in a checkpoint, without `.weight`: `model.layers.3.self_attn.q_proj` */
  path: string;
  /** its index among all linear layers of the model */
  index: number;
}

interface Inventory {
  layers: readonly LayerSpec[];
  tensors: ReadonlyMap<string, TensorSpec>;
  modules: readonly Module[];
}

const known = new WeakMap<ModelConfig, Inventory>();

function inventoryOf(config: ModelConfig): Inventory {
  const found = known.get(config);
  if (found) return found;
  const made = takeInventory(config);
  known.set(config, made);
  return made;
}

function takeInventory(config: ModelConfig): Inventory {
  const { hidden_size: hidden, vocab_size, num_hidden_layers } = config;
  const architecture = architectureOf(config);
  const layers = Array.from({ length: num_hidden_layers }, (_, index) => architecture.layer(config, index));
  const tensors = new Map<string, TensorSpec>();
  const modules: Module[] = [];
  const add = (name: string, shape: readonly number[], role: TensorSpec["role"]) =>
    tensors.set(name, { name, shape, role });
  add(EMBEDDING, [vocab_size, hidden], "embedding");
  layers.forEach(({ prefix, sublayers }, layer) => {
    const norm = (spec: NormSpec | null) => spec && add(normName(prefix, spec), [spec.size], "norm");
    for (const spec of sublayers) {
      norm(spec.pre);
      for (const projection of Object.values(spec.groups).flat()) {
        const path = `${prefix}.${projection.module}`;
        modules.push({ ...projection, layer, path, index: modules.length });
        add(`${path}.weight`, [projection.out, projection.inner], "weight");
        if (projection.bias) add(`${path}.bias`, [projection.out], "bias");
      }
      if (spec.kind === "attention" && spec.norms) for (const each of Object.values(spec.norms)) norm(each);
      norm(spec.post);
    }
  });
  add(FINAL_NORM, [hidden], "norm");
  if (!config.tie_word_embeddings) add(HEAD, [vocab_size, hidden], "head");
  return { layers, tensors, modules };
}

/** Name of a norm's scale. */
export function normName(prefix: string, { module }: NormSpec): string {
  return `${prefix}.${module}.weight`;
}

/** The blocks of a model, in order. */
export function layersOf(config: ModelConfig): readonly LayerSpec[] {
  return inventoryOf(config).layers;
}

/** Every tensor that a checkpoint of this model holds, in file order. */
export function tensorsOf(config: ModelConfig): ReadonlyMap<string, TensorSpec> {
  return inventoryOf(config).tensors;
}

/** Every linear layer of the model's blocks, in order. */
export function modulesOf(config: ModelConfig): readonly Module[] {
  return inventoryOf(config).modules;
}

/** The distinct shapes of a model's matrix products. */
export function weightShapes(config: ModelConfig): WeightShapes {
  const shapes = new Map(modulesOf(config).map(({ out, inner }) => [`${out} ${inner}`, [out, inner] as const]));
  return { projections: [...shapes.values()], head: [config.vocab_size, config.hidden_size] };
}

/** Whether a tensor is the matrix of a block's linear layer; adapters and quantisation apply to these only. */
export function isProjection(config: ModelConfig, name: string): boolean {
  return tensorsOf(config).get(name)?.role === "weight";
}

/** Parameter count of the whole model, with the head unless it is tied. */
export function parameterCount(config: ModelConfig): number {
  let sum = 0;
  for (const { shape } of tensorsOf(config).values()) sum += shape.reduce((product, extent) => product * extent, 1);
  return sum;
}

/** Names that `target_modules` can contain, in order. */
export function moduleNames(config: ModelConfig): string[] {
  return [...new Set(modulesOf(config).map(({ name }) => name))];
}

/**
 * Bytes of the caches for one sequence of `length` tokens: the sum, and the largest one, which must fit one binding.
 */
export function cacheBytes(config: ModelConfig, length: number): { total: number; largest: number } {
  let [total, largest] = [0, 0];
  for (const spec of layersOf(config).flatMap(({ sublayers }) => sublayers)) {
    if (spec.kind !== "attention") continue;
    const { num_key_value_heads, head_dim } = spec.heads;
    const bytes = 4 * length * num_key_value_heads * head_dim;
    total += 2 * bytes; // keys and values
    largest = Math.max(largest, bytes);
  }
  return { total, largest };
}
