import { deltaWidth } from "../../kernels/delta/heads.ts";
import type { WeightShapes } from "../../kernels/matmul/matmul-tune.ts";
import type {
  LayerSpec,
  ModelConfig,
  NormSpec,
  OwnTensor,
  Projection,
  SublayerSpec,
  TowerSpec,
} from "./architecture.ts";
import { architectureOf } from "./registry.ts";

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** The published name of a tensor or of an adapter's tensor. In files the language model may be part of another model. */
export function publishedName({ model_type }: Pick<ModelConfig, "model_type">, name: string): string {
  const { part } = architectureOf({ model_type });
  return part === undefined
    ? name
    : name.replace(/^((?:base_model\.model\.)?model\.)(?=(?:layers|embed_tokens|norm)\.)/, `$1${part}.`);
}

/** A tensor of a checkpoint. */
export interface TensorSpec {
  name: string;
  shape: readonly number[];
  /** what it is: `weight` and `bias` are a linear layer's */
  role: "embedding" | "head" | "norm" | "weight" | "bias" | OwnTensor["role"];
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
  tower: Tower | null;
}

/** The vision tower of a model. */
interface Tower {
  spec: TowerSpec;
  /** in file order */
  tensors: ReadonlyMap<string, TensorSpec>;
  patch: Module;
  /** linear layers of its blocks, in order */
  modules: readonly Module[];
  merger: readonly Module[];
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
  const list = new TensorList(0);
  list.add(EMBEDDING, [vocab_size, hidden], "embedding");
  list.layers(layers);
  list.add(FINAL_NORM, [hidden], "norm");
  if (!config.tie_word_embeddings) list.add(HEAD, [vocab_size, hidden], "head");
  const tower = config.vision && architecture.tower ? towerInventory(architecture.tower(config.vision), list) : null;
  return { layers, tensors: list.tensors, modules: list.modules, tower };
}

function towerInventory(spec: TowerSpec, { modules }: TensorList): Tower {
  const list = new TensorList(modules.length);
  const { prefix, patch, positions, layers, merger } = spec;
  const first = list.projection(prefix, patch.projection, 0, patch.shape);
  list.add(`${prefix}.${positions}`, [spec.grid ** 2, patch.projection.out], "embedding");
  list.layers(layers);
  list.layers([{ prefix, sublayers: [merger] }]);
  const [blocks, last] = [list.modules.slice(1, -2), list.modules.slice(-2)];
  return { spec, tensors: list.tensors, patch: first, modules: blocks, merger: last };
}

/** Collects the tensors and linear layers of a model, in file order. */
class TensorList {
  readonly tensors = new Map<string, TensorSpec>();
  readonly modules: Module[] = [];
  private readonly first: number;

  /** @param first index of the first linear layer */
  constructor(first: number) {
    this.first = first;
  }

  add(name: string, shape: readonly number[], role: TensorSpec["role"]): void {
    this.tensors.set(name, { name, shape, role });
  }

  layers(layers: readonly LayerSpec[]): void {
    layers.forEach(({ prefix, sublayers }, layer) => {
      for (const spec of sublayers) this.sublayer(prefix, spec, layer);
    });
  }

  projection(prefix: string, projection: Projection, layer: number, shape?: readonly number[]): Module {
    const { module, out, inner, bias } = projection;
    const path = `${prefix}.${module}`;
    const made = { ...projection, layer, path, index: this.first + this.modules.length };
    this.modules.push(made);
    this.add(`${path}.weight`, shape ?? [out, inner], "weight");
    if (bias) this.add(`${path}.bias`, [out], "bias");
    return made;
  }

  private sublayer(prefix: string, spec: SublayerSpec, layer: number): void {
    this.norm(prefix, spec.pre);
    for (const projection of Object.values(spec.groups).flat()) this.projection(prefix, projection, layer);
    if (spec.kind === "attention" && spec.norms) for (const each of Object.values(spec.norms)) this.norm(prefix, each);
    if (spec.kind === "gatedDeltaNet") {
      for (const { name, shape, role } of Object.values(spec.own)) this.add(`${prefix}.${name}`, shape, role);
      this.norm(prefix, spec.norm);
    }
    this.norm(prefix, spec.post);
  }

  private norm(prefix: string, spec: NormSpec | null): void {
    if (!spec) return;
    this.add(normName(prefix, spec), [spec.size], "norm");
    if (spec.bias) this.add(`${prefix}.${spec.module}.bias`, [spec.size], "norm");
  }
}

/** Name of a norm's scale. */
export function normName(prefix: string, { module }: NormSpec): string {
  return `${prefix}.${module}.weight`;
}

/** The blocks of a model, in order. */
export function layersOf(config: ModelConfig): readonly LayerSpec[] {
  return inventoryOf(config).layers;
}

/** The vision tower of a model that has one. Nothing else here counts it: a tower is loaded only for images. */
export function towerOf(config: ModelConfig): Tower | null {
  return inventoryOf(config).tower;
}

/** The linear layers of a vision tower that adapters may change: those of its blocks and its merger. Its patches are a convolution. */
export function towerModules(config: ModelConfig): readonly Module[] {
  const tower = towerOf(config);
  return tower ? [...tower.modules, ...tower.merger] : [];
}

/** The linear layers of the language model's groups, and with `vision` of the tower's: those of a group read the same input. */
export function groupsOf(config: ModelConfig, vision: boolean): Module[][] {
  const tower = vision ? towerOf(config) : null;
  const merger = tower ? [{ prefix: tower.spec.prefix, sublayers: [tower.spec.merger] }] : [];
  const modules = [...modulesOf(config), ...(tower ? towerModules(config) : [])];
  let at = 0;
  return [...layersOf(config), ...(tower?.spec.layers ?? []), ...merger]
    .flatMap(({ sublayers }) => sublayers.flatMap(({ groups }) => Object.values<readonly Projection[]>(groups)))
    .map((group) => modules.slice(at, (at += group.length)));
}

/** Every tensor that a checkpoint of this language model holds, in file order. */
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
 * Bytes of the caches for one sequence of `length` tokens: the sum, and the largest one, which must fit one binding. Caches
 * of delta nets do not grow with the length, and are f32.
 *
 * @param stored how keys and values are stored
 */
export function cacheBytes(
  config: ModelConfig,
  length: number,
  stored: "f32" | "bf16" = "f32",
): { total: number; largest: number } {
  let [total, largest] = [0, 0];
  for (const spec of layersOf(config).flatMap(({ sublayers }) => sublayers)) {
    const half = spec.kind === "attention" && cacheDType(stored, spec.heads.head_dim) === "bf16";
    const sizes = cacheSizes(spec, length).map((size) => (half ? 2 : 4) * size);
    for (const bytes of sizes) total += bytes;
    largest = Math.max(largest, ...sizes);
  }
  return { total, largest };
}

/** How keys and values of heads are stored: bf16 is read four at a time. */
export function cacheDType(asked: "f32" | "bf16", headDim: number): "f32" | "bf16" {
  return headDim % 4 === 0 ? asked : "f32";
}

/** Number of elements in each cache of a sublayer, for one sequence. */
function cacheSizes(spec: SublayerSpec, length: number): number[] {
  switch (spec.kind) {
    case "attention": {
      const { num_key_value_heads, head_dim } = spec.heads;
      return Array<number>(2).fill(length * num_key_value_heads * head_dim); // keys and values
    }
    case "gatedDeltaNet": {
      const { num_value_heads, key_head_dim, value_head_dim } = spec.heads;
      return [num_value_heads * key_head_dim * value_head_dim, 3 * deltaWidth(spec.heads)]; // state, last inputs
    }
    case "swiglu":
    case "gelu":
      return [];
  }
}
