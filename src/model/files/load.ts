import { FormatError, UnsupportedError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { codeBytes, isQuantized, QUANT_BLOCK, sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { readAbsmax } from "../../io/bitsandbytes.ts";
import type { Checkpoint } from "../../io/checkpoint.ts";
import { encodeInt8, encodeNf4, nestAbsmax } from "../../io/nf4.ts";
import { type Adapter, readAdapter } from "../../io/peft.ts";
import { bytesOf, DTYPE_BYTES, f32ToBf16, f32ToF16, findNonFinite, toFloat32 } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import { startMagnitudes } from "../../kernels/matmul/dora.ts";
import type { AdapterInit, MergeRows } from "../adapters/adapter.ts";
import { type LoraConfig, lora } from "../adapters/lora.ts";
import { doubledAdapter, doubledConfig, startPissa } from "../adapters/pissa.ts";
import { savedTables } from "../adapters/tables.ts";
import { trainedRows } from "../adapters/token-rows.ts";
import { isProjection, modulesOf, towerModules } from "../architectures/tensors.ts";
import { buildModel, checkTensors, type Trained } from "../build.ts";
import { type ModelConfig, parseModelConfig } from "../config.ts";
import type { Slot, WeightDType } from "../slots.ts";
import type { Transformer } from "../transformer.ts";

/** `dtype` of a recipe: the file's own, or a conversion on loading. */
export type LoadDType = "auto" | "float32" | "float16" | "bfloat16";

/** How frozen linear layers are quantised on loading. Embedding, head, norms and biases keep `dtype`. */
export interface Quantization {
  type: "nf4" | "int8";
  /**
   * quantise the scales of nf4 too, as bitsandbytes does: changes the values but saves no memory here (scales are f32)
   */
  double: boolean;
}

export interface LoadOptions {
  dtype?: LoadDType;
  quantization?: Quantization | null;
  trained?: Trained;
  /** load the vision tower too, for rows with images; default false */
  vision?: boolean;
  /** changes to weights in f32, by name, before they are stored */
  residuals?: ReadonlyMap<string, MergeRows>;
  signal?: AbortSignal;
  /** bytes read so far, and in total */
  onProgress?: (done: number, total: number) => void;
}

const STORED: Record<string, WeightDType> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
};

/** Bytes of a tensor that are in host memory at once. */
const PIECE_BYTES = 16 << 20;
/** Bytes to queue before waiting for the queue, so that the driver's staging memory stays small. */
const IN_FLIGHT_BYTES = 64 << 20;

/** How a checkpoint's tensor is stored on this GPU. @throws {UnsupportedError} f16 without the feature shader-f16 */
export function storedDType(gpu: Gpu, fileDType: string, dtype: LoadDType): WeightDType {
  if (dtype !== "auto") {
    if (dtype === "float16" && !gpu.features.f16) {
      throw new UnsupportedError(
        `Cannot keep weights in float16: ${gpu.adapterName} has no shader-f16; use dtype auto, float32 or bfloat16`,
      );
    }
    return STORED[dtype];
  }
  const stored = STORED[fileDType];
  return stored === "f16" && !gpu.features.f16 ? "f32" : stored; // f32 is exact, at twice the memory
}

/**
 * How each frozen tensor of a checkpoint is stored on this GPU.
 *
 * @throws {UnsupportedError} load_in_8bit for a 4-bit checkpoint, or f16 without the feature shader-f16
 */
export function weightDTypes(
  gpu: Gpu,
  config: ModelConfig,
  { weights, folder }: Pick<Checkpoint, "weights" | "folder">,
  { dtype = "auto", quantization = null }: Pick<LoadOptions, "dtype" | "quantization">,
): (name: string) => WeightDType {
  return (name) => {
    const file = weights.get(name)!.dtype;
    if (file === "NF4") {
      if (quantization?.type !== "int8") return "nf4";
      throw new UnsupportedError(`Cannot load ${folder.path} with load_in_8bit: ${name} is stored in 4 bits there`);
    }
    return quantization && isProjection(config, name) ? quantization.type : storedDType(gpu, file, dtype);
  };
}

/**
 * Loads a checkpoint onto the GPU, one piece of a tensor at a time.
 *
 * @throws {FormatError} a tensor is missing, has another shape, or holds NaN or infinity
 */
export async function loadModel(gpu: Gpu, checkpoint: Checkpoint, options: LoadOptions = {}): Promise<Transformer> {
  const { dtype = "auto", quantization = null, trained = "none" } = options;
  const { vision = false, residuals, signal, onProgress } = options;
  const where = checkpoint.folder.path;
  const config = parseModelConfig(checkpoint.config, `${where}/config.json`);
  if (vision && !config.vision) {
    throw new UnsupportedError(
      `Cannot use images with ${where}: its config.json has no vision_config, so the model has no vision tower`,
    );
  }
  checkTensors(config, checkpoint.weights, where, vision);
  const dtypeOf = weightDTypes(gpu, config, checkpoint, { dtype, quantization });
  const { model, slots } = buildModel(gpu, config, trained, dtypeOf, vision);
  let total = 0;
  for (const [name, parts] of slots) total += bytesToRead(checkpoint, name, parts);
  let done = 0;
  let queued = 0;
  for (const [name, shards] of slots) {
    const entry = checkpoint.tensors.get(name)!;
    const width = DTYPE_BYTES[entry.dtype];
    const stored = checkpoint.nf4.get(name);
    if (stored) {
      signal?.throwIfAborted();
      const { tensor, at } = shards[0];
      if (!isQuantized(tensor.dtype)) {
        throw new UnsupportedError(
          `Cannot train all weights of ${where}: ${name} is stored in 4 bits; set use_peft: true`,
        );
      }
      const codes = await checkpoint.read(name);
      gpu.write(tensor, codes, codeBytes(at, "nf4"));
      gpu.write(tensor, await readAbsmax(stored), scalesAt(tensor, at));
      done += codes.length;
      queued += codes.length;
      onProgress?.(done, total);
      continue;
    }
    for (const { tensor, shape, start, at: place } of shards) {
      const first = (start * sizeOf(shape)) / shape[0]; // elements before this shard
      const count = sizeOf(shape);
      const residual = residuals?.get(name);
      const inner = shape[1] ?? 1;
      const step = residual ? inner * Math.max(1, Math.floor(PIECE_BYTES / 4 / inner)) : PIECE_BYTES / 4;
      const packed = isQuantized(tensor.dtype) ? new Packed(tensor.dtype, count) : null;
      for (let at = 0; at < count; at += step) {
        signal?.throwIfAborted();
        const size = Math.min(step, count - at);
        const bytes = await checkpoint.read(name, (first + at) * width, (first + at + size) * width);
        const bad = findNonFinite(bytes, entry.dtype);
        if (bad >= 0)
          throw new FormatError(
            `Cannot load ${where}: ${name} holds a value that is not finite, at element ${first + at + bad} of [${entry.shape}]`,
          );
        const changed = residual ? toFloat32(bytes, entry.dtype).slice() : null;
        residual?.(changed!, start + at / inner);
        const data = packed
          ? packed.add(changed ?? toFloat32(bytes, entry.dtype))
          : changed
            ? convert(bytesOf(changed), "F32", tensor.dtype as WeightDType)
            : convert(bytes, entry.dtype, tensor.dtype as WeightDType);
        const large =
          data instanceof Uint16Array ? findNonFinite(bytesOf(data), tensor.dtype === "f16" ? "F16" : "BF16") : -1;
        if (large >= 0)
          throw new UnsupportedError(
            `Cannot load ${where} as ${dtype}: ${name} holds a value outside ${tensor.dtype}'s range, at element ${first + at + large} of [${entry.shape}]`,
          );
        const to = place + at;
        gpu.write(tensor, data, packed ? codeBytes(to, tensor.dtype) : to * (tensor.dtype === "f32" ? 4 : 2));
        done += bytes.length;
        queued += data.byteLength;
        if (queued >= IN_FLIGHT_BYTES) {
          await gpu.settle();
          queued = 0;
        }
        onProgress?.(done, total);
      }
      if (packed) gpu.write(tensor, packed.scales(quantization!.double), scalesAt(tensor, place));
    }
  }
  await gpu.settle();
  return model;
}

/** Byte offset of the scales for the codes from element `at` on. */
function scalesAt({ shape, dtype }: Tensor, at: number): number {
  return codeBytes(sizeOf(shape), dtype) + (4 * at) / QUANT_BLOCK;
}

/** Quantises a tensor one piece at a time; every piece but the last is a whole number of blocks. */
class Packed {
  private readonly dtype: "int8" | "nf4";
  private readonly blocks: Float32Array;
  private done = 0;

  constructor(dtype: "int8" | "nf4", count: number) {
    this.dtype = dtype;
    this.blocks = new Float32Array(Math.ceil(count / QUANT_BLOCK));
  }

  /** @returns codes of the next piece */
  add(values: Float32Array): Uint8Array {
    const blocks = Math.ceil(values.length / QUANT_BLOCK);
    const scales = this.blocks.subarray(this.done, this.done + blocks);
    this.done += blocks;
    const codes = new Uint8Array(this.dtype === "nf4" ? Math.ceil(values.length / 2) : values.length);
    if (this.dtype === "nf4") encodeNf4(values, codes, scales);
    else encodeInt8(values, new Int8Array(codes.buffer), scales);
    return codes;
  }

  /** The scales that codes are multiplied by. */
  scales(double: boolean): Float32Array {
    return double && this.dtype === "nf4" ? nestAbsmax(this.blocks).absmax : this.blocks;
  }
}

/** Bytes to read for a tensor's slots: rows of a table are read more than once if an adapter replaces them. */
function bytesToRead({ tensors, nf4 }: Checkpoint, name: string, slots: readonly Slot[]): number {
  const { begin, end, dtype } = tensors.get(name)!;
  if (nf4.has(name)) return end - begin;
  return slots.reduce((sum, { shape }) => sum + sizeOf(shape) * DTYPE_BYTES[dtype], 0);
}

function convert(
  bytes: Uint8Array,
  from: "F32" | "F16" | "BF16" | string,
  to: WeightDType,
): Uint8Array | Float32Array | Uint16Array {
  if (STORED[from] === to) return bytes;
  const values = toFloat32(bytes, from as "F32");
  if (to === "f32") return values;
  return to === "bf16" ? f32ToBf16(values) : f32ToF16(values);
}

/** An adapter that was read and checked against its model. */
interface OpenedAdapter {
  adapter: Adapter;
  lora: LoraConfig;
  /** notes for the user */
  notes: string[];
}

/**
 * Opens an adapter's folder and checks it against its model.
 *
 * As in PEFT, names of modules that the model does not have are ignored, and linear layers without matrices stay
 * unchanged.
 *
 * An adapter that PEFT saved over the residual base of PiSSA becomes plain LoRA over the published base: its start is computed
 * again from the base's singular values.
 *
 * @param checkpoint the base; an adapter of PiSSA needs its weights
 * @throws {FormatError} an adapter for another base
 * @throws {UnsupportedError} an adapter of PiSSA without the base's weights
 */
export async function openAdapterFor(
  config: ModelConfig,
  folder: Folder,
  checkpoint: Checkpoint | null = null,
): Promise<OpenedAdapter> {
  const opened = await openFitting(config, folder);
  if (opened.adapter.config.init_lora_weights !== "pissa") return opened;
  if (!checkpoint) {
    throw new UnsupportedError(
      `Cannot use adapter ${folder.path} here: its init_lora_weights is pissa, so that its base is not the published model; save it in PEFT with path_initial_model_for_weight_conversion`,
    );
  }
  const start = await startPissa(checkpoint, lora.targets(config, opened.lora));
  return { ...opened, adapter: doubledAdapter(opened.adapter, start), lora: doubledConfig(opened.lora) };
}

async function openFitting(config: ModelConfig, folder: Folder): Promise<OpenedAdapter> {
  const adapter = await readAdapter(folder);
  const settings = lora.fromPeft(adapter.config);
  const base = adapter.config.base_model_name_or_path || "unnamed";
  const targets = lora.targets(config, settings);
  const present = targets.filter((target) => lora.parameters(target).every(({ name }) => adapter.tensors.has(name)));
  for (const { name, shape } of present.flatMap((target) => lora.parameters(target))) {
    const found = adapter.tensors.get(name)!.shape;
    if (found.join() === shape.join()) continue;
    const [own, wanted] = [found, shape].map((extents) => extents[name.includes("lora_A") ? 1 : 0]);
    const fits = own === wanted;
    throw new FormatError(
      fits
        ? `Cannot use adapter ${folder.path}: ${name} is [${found}]; its adapter_config.json requires [${shape}]`
        : `Cannot use adapter ${folder.path}: ${name} is [${found}]; this base model requires [${shape}]. The adapter is for another base model (${base})`,
    );
  }
  const tables = savedTables(config, adapter.config);
  const rows = trainedRows(config, adapter.config);
  for (const { name, shape } of [...tables, ...rows]) {
    const found = adapter.tensors.get(name)?.shape;
    if (found?.join() === shape.join()) continue;
    const field = rows.some((own) => own.name === name) ? "trainable_token_indices" : "modules_to_save";
    throw new FormatError(
      found
        ? `Cannot use adapter ${folder.path}: ${name} is [${found}]; this base model and its ${field} require [${shape}]`
        : `Cannot use adapter ${folder.path}: its ${field} includes ${name}, but the file lacks it`,
    );
  }
  const names = new Set(present.flatMap((target) => lora.parameters(target).map(({ name }) => name)));
  for (const { name } of [...tables, ...rows]) names.add(name);
  const extra = [...adapter.tensors.keys()].find((name) => !names.has(name));
  if (extra) {
    const known = [...modulesOf(config), ...towerModules(config)].some(({ path }) =>
      extra.startsWith(`base_model.model.${path}.`),
    );
    throw new FormatError(
      known
        ? `Cannot use adapter ${folder.path}: it holds ${extra}, which its target_modules do not include`
        : `Cannot use adapter ${folder.path}: it holds ${extra}, which does not fit this base model of ${config.num_hidden_layers} layers (the adapter's base model is ${base})`,
    );
  }
  if (present.length === targets.length) return { adapter, lora: settings, notes: [] };
  const missing = targets.find((target) => !present.includes(target))!;
  const own = modulesOf(config).length; // those after belong to the vision tower
  const deepest = Math.max(...present.filter(({ index }) => index < own).map(({ layer }) => layer));
  if (targets.every((target) => target.index >= own || target.layer > deepest || present.includes(target))) {
    // a model of fewer layers and the same widths
    throw new FormatError(
      `Cannot use adapter ${folder.path}: it lacks ${lora.parameters(missing)[0].name} and all layers after it, so it does not fit this base model of ${config.num_hidden_layers} layers (the adapter's base model is ${base}). If it is meant for the first ${deepest + 1} layers only, list them in layers_to_transform of its adapter_config.json`,
    );
  }
  const note = `the adapter ${folder.path} has matrices for ${present.length} of the ${targets.length} linear layers that its target_modules include; the others, such as ${missing.path}, keep the base model's weights`;
  // whole paths leave no doubt
  const plain = { exclude_modules: null, layers_to_transform: null, target_modules: present.map(({ path }) => path) };
  return { adapter, lora: { ...settings, ...plain }, notes: [note] };
}

/** Copies an adapter's matrices into the model's trainable parameters. */
export async function fillAdapter(gpu: Gpu, model: Transformer, adapter: Adapter): Promise<void> {
  for (const { name } of model.store!.parameters) model.store!.write(gpu, name, await adapter.read(name));
}

/**
 * Initialises an adapter as PEFT does.
 *
 * @param random uniform in [0, 1)
 * @param init PEFT's init_lora_weights, or the matrices by name
 */
export function initAdapter(
  gpu: Gpu,
  model: Transformer,
  random: () => number,
  init: AdapterInit | ReadonlyMap<string, Float32Array> = "true",
): void {
  const store = model.store!;
  const initial =
    typeof init === "string" ? lora.starter(init, random) : ({ name }: { name: string }) => init.get(name)!;
  for (const parameter of store.parameters) {
    if (parameter.name.includes(".lora_") && parameter.shape.length === 2)
      store.write(gpu, parameter.name, initial(parameter));
  }
  const record = gpu.recorder();
  for (const layer of model.linears) startMagnitudes(record, layer);
  record.submit();
}
