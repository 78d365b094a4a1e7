import type { Gpu } from "../gpu/device.ts";
import { type Tensor, view } from "../gpu/tensor.ts";
import { type AdapterConfig, writeAdapter } from "../io/peft.ts";
import { encodeSafetensors, type TensorData } from "../io/safetensors.ts";
import type { Folder } from "../io/storage.ts";
import type { LoraConfig } from "./build.ts";
import type { Transformer } from "./transformer.ts";

/** Bytes read back at a time. */
const PIECE_BYTES = 64 << 20;

/** A tensor's bytes, read back a piece at a time. */
export async function* readPieces(gpu: Gpu, tensor: Tensor): AsyncGenerator<Uint8Array> {
  const words = tensor.bytes / 4;
  for (let at = 0; at < words; at += PIECE_BYTES / 4) {
    const part: Tensor = {
      ...tensor,
      offset: tensor.offset + 4 * at,
      bytes: 4 * Math.min(PIECE_BYTES / 4, words - at),
      block: null,
    };
    yield new Uint8Array(await gpu.read(part));
  }
}

/** A tensor for a safetensors file whose bytes are read back while it is written. */
export function streamed(gpu: Gpu, name: string, tensor: Tensor, dtype: TensorData["dtype"]): TensorData {
  return { name, dtype, shape: tensor.shape, data: readPieces(gpu, tensor) };
}

/** Writes the model's adapter as a PEFT folder. */
export async function saveAdapter(folder: Folder, model: Transformer, lora: LoraConfig, base: string): Promise<void> {
  const { gpu, store } = model;
  const { r, lora_alpha, lora_dropout, use_rslora, target_modules } = lora;
  const config: AdapterConfig = {
    r,
    lora_alpha,
    lora_dropout,
    use_rslora,
    target_modules: [...target_modules],
    base_model_name_or_path: base,
  };
  const values = await gpu.read(store!.values);
  await writeAdapter(folder, config, store!.split(values));
}

/** Writes a fully trained model as model.safetensors (f32) with its config.json. */
export async function saveModel(folder: Folder, model: Transformer, config: Record<string, unknown>): Promise<void> {
  const { gpu, store } = model;
  const tensors = store!.parameters.map(({ name, shape, start }) =>
    streamed(gpu, name, view(store!.values, shape, start), "F32"),
  );
  await folder.write("model.safetensors", encodeSafetensors(tensors, { format: "pt" }));
  await folder.write(
    "config.json",
    `${JSON.stringify({ ...config, dtype: "float32", torch_dtype: "float32" }, null, 2)}\n`,
  );
}
