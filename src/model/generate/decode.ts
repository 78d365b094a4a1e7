import type { Gpu } from "../../gpu/device.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { decodeAttention, kvWrite, type LayerCache } from "../../kernels/attention/decode.ts";
import { embedding, type WeightShard } from "../../kernels/embedding/embedding.ts";
import { loraLinear } from "../../kernels/matmul/lora-linear.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";
import { rmsNorm } from "../../kernels/norm/rms-norm.ts";
import { rmsNormLora } from "../../kernels/norm/rms-norm-lora.ts";
import type { ModelConfig } from "../config.ts";
import { activate, projectQkv, type Stream } from "../layers/block.ts";
import type { Transformer } from "../transformer.ts";

/** Keys and values of `slots` sequences of at most `capacity` tokens, for every layer. */
export class KvCache {
  readonly layers: readonly LayerCache[];
  readonly slots: number;
  readonly capacity: number;
  private readonly gpu: Gpu;

  constructor(gpu: Gpu, config: ModelConfig, slots: number, capacity: number) {
    this.gpu = gpu;
    this.slots = slots;
    this.capacity = capacity;
    const shape = [slots * capacity, config.num_key_value_heads * config.head_dim];
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => ({
      keys: gpu.persistent(shape, "f32", `keys.${layer}`, "kv_cache"),
      values: gpu.persistent(shape, "f32", `values.${layer}`, "kv_cache"),
    }));
  }

  /** Gives the memory back; what was submitted with it must have ended. */
  drop(): void {
    this.gpu.drop(...this.layers.flatMap(({ keys, values }) => [keys, values]));
  }

  /** Slots of `capacity` tokens that one binding of this device can hold. */
  static mostSlots(gpu: Gpu, config: ModelConfig, capacity: number): number {
    const bytes = 4 * capacity * config.num_key_value_heads * config.head_dim;
    return Math.floor(Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize) / bytes);
  }
}

/** A prompt to put into the cache, and the slots of the sequences that start with it. */
export interface PrefillPrompt {
  ids: readonly number[];
  slots: readonly number[];
}

/** Runs prompts through the model once each and copies their keys and values to every slot that shares them. */
export function prefill(record: Recorder, model: Transformer, cache: KvCache, prompts: readonly PrefillPrompt[]): void {
  const input_ids = prompts.flatMap(({ ids }) => [...ids]);
  if (input_ids.length === 0) return;
  const cu_seqlens = [0];
  for (const { ids } of prompts) cu_seqlens.push(cu_seqlens.at(-1)! + ids.length);
  const pairs: number[] = [];
  prompts.forEach(({ ids, slots }, p) => {
    for (const slot of slots)
      for (let t = 0; t < ids.length; t++) pairs.push(cu_seqlens[p] + t, slot * cache.capacity + t);
  });
  record.scope(() => {
    const onGpu = view(record.upload(Uint32Array.from(pairs), [pairs.length], "pairs"), [pairs.length / 2, 2]);
    const position_ids = prompts.flatMap(({ ids }) => ids.map((_, t) => t));
    model.forward(record, { input_ids, position_ids, cu_seqlens }, (layer, qkv) =>
      kvWrite(record, qkv, onGpu, cache.layers[layer], model.config),
    );
  });
}

/** Where the rows of a decoding pass stand, on the GPU. */
export interface DecodePass {
  /** u32 `[rows]` each */
  tokens: Tensor;
  positions: Tensor;
  slots: Tensor;
  /** upper bound of the positions */
  longest: number;
}

/**
 * One token a row: feeds it, adds its key and value to the cache, and gives the logits of the next.
 *
 * @returns f32 `[rows, n]` for each shard of the vocabulary
 */
export function decodeStep(
  record: Recorder,
  model: Transformer,
  cache: KvCache,
  rows: DecodePass,
): { tensor: Tensor; start: number }[] {
  const { config, weights } = model;
  return record.scope(() => {
    const pass = model.passOf(rows.positions, rows.longest + 1);
    let stream: Stream = { x: embedding(record, rows.tokens, weights.embed), delta: null };
    weights.blocks.forEach((block, layer) => {
      stream = record.scope(() => {
        const { linears } = block;
        const input = rmsNormLora(record, stream.x, block.inputNorm, pass.eps, stream.delta, linears.qkv);
        const { qkv } = projectQkv(record, block, pass, input.y, input.h);
        const o = decodeAttention(record, qkv, cache.layers[layer], pass.heads, { ...rows, capacity: cache.capacity });
        const out = loraLinear(record, o, linears.o, null, { label: "o_proj" });
        const norm = rmsNormLora(record, input.sum, block.postNorm, pass.eps, out.y, linears.gate_up);
        const { activated } = activate(record, block, null, norm.y, norm.h);
        const down = loraLinear(record, activated, linears.down, null, { label: "down_proj" });
        return { x: norm.sum, delta: down.y };
      });
    });
    const norm = rmsNorm(record, stream.x, weights.norm, config.rms_norm_eps, stream.delta);
    return logitsOf(record, norm.y, weights.head);
  });
}

function logitsOf(
  record: Recorder,
  hidden: Tensor,
  shards: readonly WeightShard[],
): { tensor: Tensor; start: number }[] {
  return shards.map(({ tensor, start }) => ({
    start,
    tensor: matmul(record, hidden, tensor, { transB: true, label: "logits" }),
  }));
}
