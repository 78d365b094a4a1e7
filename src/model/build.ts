import { FormatError, UnsupportedError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import { byteLength, type DType, type Tensor, view } from "../gpu/tensor.ts";
import type { WeightShard } from "../kernels/embedding/embedding.ts";
import type { LoraConfig } from "./adapters/lora.ts";
import type { ModelConfig } from "./config.ts";
import type { Block, BlockGrads } from "./layers/block.ts";
import { buildGroup } from "./layers/build-linear.ts";
import {
  checkpointShapes,
  eachGroup,
  GROUPS,
  isProjection,
  loraName,
  PROJECTIONS,
  type Projection,
  projectionShape,
} from "./names.ts";
import { type ParameterSpec, ParameterStore } from "./parameters.ts";
import type { Slot, WeightDType } from "./slots.ts";
import { Transformer, type WeightGrads, type Weights } from "./transformer.ts";

/** What is trained: an adapter, everything, or nothing. */
export type Trained = { lora: LoraConfig } | "all" | "none";

/** Rows of a table that one binding and one buffer of this device can hold; a multiple of 64, so that views are aligned. */
function shardRows(gpu: Gpu, rows: number, width: number, dtype: DType): number {
  const limit = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const most = Math.floor(limit / byteLength(width, dtype) / 64) * 64;
  if (rows <= most) return rows;
  const shards = Math.ceil(rows / most);
  return Math.ceil(rows / shards / 64) * 64;
}

/** `target_modules` of a recipe or an adapter_config.json as projections. @throws {UnsupportedError} for any other module */
export function targetModules(modules: readonly string[] | string): Projection[] {
  const names = typeof modules === "string" ? [modules] : modules;
  if (names.includes("all-linear")) return [...PROJECTIONS];
  for (const name of names) {
    if (!(PROJECTIONS as readonly string[]).includes(name)) {
      throw new UnsupportedError(
        `Cannot put LoRA on ${JSON.stringify(name)}: lora_target_modules may be "all-linear" or a list of ${PROJECTIONS.join(", ")}`,
      );
    }
  }
  if (names.length === 0) throw new UnsupportedError("Cannot put LoRA on no module: lora_target_modules is empty");
  return PROJECTIONS.filter((p) => names.includes(p));
}

/** Names and shapes of what will be trained. */
export function parameterSpecs(config: ModelConfig, trained: Trained): ParameterSpec[] {
  if (trained === "none") return [];
  if (trained === "all") {
    return [...checkpointShapes(config)].map(([name, shape]) => ({ name, shape, decay: shape.length > 1 }));
  }
  const { r, target_modules } = trained.lora;
  const specs: ParameterSpec[] = [];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const group of Object.values(GROUPS)) {
      // a group's lora_A lie next to each other, so that they can be one matrix
      const tuned = group.filter((projection) => target_modules.includes(projection));
      for (const projection of tuned) {
        const [, inner] = projectionShape(config, projection);
        specs.push({ name: loraName(layer, projection, "lora_A"), shape: [r, inner], decay: true });
      }
      for (const projection of tuned) {
        const [out] = projectionShape(config, projection);
        specs.push({ name: loraName(layer, projection, "lora_B"), shape: [out, r], decay: true });
      }
    }
  }
  return specs;
}

/** A model with all its memory, still empty: `slots` says where each checkpoint tensor goes. */
export interface BuiltModel {
  model: Transformer;
  /** by checkpoint name; the embedding is a list of shards */
  slots: Map<string, readonly Slot[]>;
}

/**
 * Allocates a model: frozen weights in their own dtype, trained ones in the f32 mega-buffer.
 *
 * @param dtypeOf how each frozen checkpoint tensor will be stored
 */
export function buildModel(
  gpu: Gpu,
  config: ModelConfig,
  trained: Trained,
  dtypeOf: (name: string) => WeightDType,
): BuiltModel {
  const specs = parameterSpecs(config, trained);
  const store = specs.length > 0 ? new ParameterStore(gpu, specs) : null;
  const slots = new Map<string, readonly Slot[]>();
  const shapes = checkpointShapes(config);

  const table = (name: string): readonly WeightShard[] => {
    const [rows, width] = shapes.get(name)!;
    const trainedTensor = store?.has(name) ? store.value(name) : null;
    const dtype = trainedTensor ? "f32" : dtypeOf(name);
    const each = shardRows(gpu, rows, width, dtype);
    const shards: WeightShard[] = [];
    for (let start = 0; start < rows; start += each) {
      const shape = [Math.min(each, rows - start), width];
      const label = rows > each ? `${name}[${start}:]` : name;
      shards.push({
        start,
        tensor: trainedTensor ? view(trainedTensor, shape, start * width, label) : gpu.frozen(shape, dtype, label),
      });
    }
    slots.set(
      name,
      shards.map(({ tensor, start }) => ({ tensor, shape: tensor.shape, start, at: 0 })),
    );
    return shards;
  };
  const one = (name: string): Tensor => {
    const shape = shapes.get(name)!;
    const tensor = store?.has(name) ? store.value(name) : gpu.persistent(shape, dtypeOf(name), name, "weights");
    slots.set(name, [{ tensor, shape, start: 0, at: 0 }]);
    return tensor;
  };
  const gradOf = (name: string): Tensor | null => (store?.has(name) ? store.grad(name) : null);

  const lora = typeof trained === "object" ? trained.lora : null;
  const embed = table("model.embed_tokens.weight");
  const blocks: Block[] = [];
  const blockGrads: BlockGrads[] = [];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const norms = {
      inputNorm: `${prefix}.input_layernorm.weight`,
      postNorm: `${prefix}.post_attention_layernorm.weight`,
      qNorm: `${prefix}.self_attn.q_norm.weight`,
      kNorm: `${prefix}.self_attn.k_norm.weight`,
    };
    const inputNorm = one(norms.inputNorm);
    const groups = eachGroup((_, names) => buildGroup(gpu, config, layer, names, { store, lora, dtypeOf, slots }));
    blocks.push({
      inputNorm,
      linears: eachGroup((group) => groups[group].map(({ linear }) => linear)),
      qNorm: config.qk_norm ? one(norms.qNorm) : null,
      kNorm: config.qk_norm ? one(norms.kNorm) : null,
      postNorm: one(norms.postNorm),
    });
    blockGrads.push({
      inputNorm: gradOf(norms.inputNorm),
      postNorm: gradOf(norms.postNorm),
      qNorm: gradOf(norms.qNorm),
      kNorm: gradOf(norms.kNorm),
      linears: eachGroup((group) => groups[group].map(({ grads }) => grads)),
    });
  }
  const weights: Weights = {
    embed,
    blocks,
    norm: one("model.norm.weight"),
    head: config.tie_word_embeddings ? embed : table("lm_head.weight"),
  };
  const tableGrads = (name: string, shards: readonly WeightShard[]): readonly WeightShard[] | null => {
    const grad = gradOf(name);
    return (
      grad && shards.map(({ tensor, start }) => ({ start, tensor: view(grad, tensor.shape, start * tensor.shape[1]) }))
    );
  };
  const embedGrads = tableGrads("model.embed_tokens.weight", embed);
  const grads: WeightGrads | null = store && {
    embed: embedGrads,
    head: config.tie_word_embeddings ? embedGrads : tableGrads("lm_head.weight", weights.head),
    norm: gradOf("model.norm.weight"),
    blocks: blockGrads,
  };
  return { model: new Transformer(gpu, config, weights, grads, store), slots };
}

/** Compares a checkpoint's tensor list with what its config promises. @throws {FormatError} naming the first that differs */
export function checkTensors(
  config: ModelConfig,
  tensors: ReadonlyMap<string, { shape: readonly number[]; dtype: string }>,
  where: string,
): void {
  for (const [name, shape] of checkpointShapes(config)) {
    const found = tensors.get(name);
    if (!found) throw new FormatError(`Cannot load ${where}: tensor ${name} [${shape}] is missing`);
    if (found.shape.join() !== shape.join()) {
      throw new FormatError(
        `Cannot load ${where}: tensor ${name} is [${found.shape}], its config.json makes it [${shape}]`,
      );
    }
    const read = isProjection(name) ? ["F32", "F16", "BF16", "NF4"] : ["F32", "F16", "BF16"];
    if (!read.includes(found.dtype)) {
      throw new UnsupportedError(
        `Cannot load ${where}: tensor ${name} is ${found.dtype}; ${read.slice(0, -1).join(", ")} and ${read.at(-1)} are read`,
      );
    }
  }
}
