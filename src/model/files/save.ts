import { TrainingError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { spelled } from "../../io/checkpoint.ts";
import { writeAdapter } from "../../io/peft.ts";
import { encodeSafetensors, findNonFinite, type TensorData } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import { formatJson } from "../../text/json.ts";
import { lora as adapterKind, type LoraConfig } from "../adapters/lora.ts";
import { doubled, doubledConfig, type PissaStart } from "../adapters/pissa.ts";
import { architectureOf } from "../architectures/registry.ts";
import { publishedName } from "../architectures/tensors.ts";
import type { ModelConfig } from "../config.ts";
import type { Transformer } from "../transformer.ts";

/** Bytes to read back at once. */
const PIECE_BYTES = 64 << 20;

/** A tensor's bytes, read back one piece at a time. */
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

/** Bytes of an f32 parameter for a file. @throws {TrainingError} a value that is not finite */
async function* finite(name: string, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    checkFinite(name, piece);
    yield piece;
  }
}

function checkFinite(name: string, bytes: Uint8Array): void {
  if (findNonFinite(bytes, "F32") >= 0) {
    throw new TrainingError(
      `Cannot save ${name}: training left a value in it that is not finite. Earlier saves are intact. Try a lower learning_rate`,
    );
  }
}

/**
 * Writes the model's adapter as a PEFT folder, over the published base.
 *
 * @param pissa the adapter's start by PiSSA; the folder then holds plain LoRA of twice the rank
 * @throws {TrainingError} NaN or infinity in the adapter
 */
export async function saveAdapter(
  folder: Folder,
  model: Transformer,
  lora: LoraConfig,
  base: string,
  pissa: PissaStart | null = null,
): Promise<void> {
  const { gpu, store } = model;
  const tensors = store!.split(await Promise.all(store!.shards.map(({ values }) => gpu.read(values))));
  for (const { name, data } of tensors)
    checkFinite(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const named = tensors.map((tensor) => {
    return { ...(pissa ? doubled(tensor, pissa) : tensor), name: publishedName(model.config, tensor.name) };
  });
  await writeAdapter(folder, adapterKind.toPeft(pissa ? doubledConfig(lora) : lora, base), named);
}

/**
 * Writes a fully trained model as model.safetensors (f32) with its config.json. A language model that is part of another
 * model is written without the rest of that model, unless its vision tower was trained too.
 *
 * @throws {TrainingError} as saveAdapter
 */
export async function saveModel(folder: Folder, model: Transformer, config: Record<string, unknown>): Promise<void> {
  const { gpu, store, tower } = model;
  const tensors = store!.parameters.map(
    ({ name, shape }): TensorData => ({
      name: tower ? publishedName(model.config, name) : name,
      dtype: "F32",
      shape,
      data: finite(name, readPieces(gpu, store!.value(name))),
    }),
  );
  await folder.write("model.safetensors", encodeSafetensors(tensors, { format: "pt" }));
  const json = tower ? spelled(config) : aloneConfig(spelled(config), model.config);
  await folder.write("config.json", `${formatJson({ ...json, dtype: "float32", torch_dtype: "float32" }, 2)}\n`);
}

/** config.json of a language model by itself. */
function aloneConfig(json: Record<string, unknown>, config: ModelConfig): Record<string, unknown> {
  const { nested, alone } = architectureOf(config);
  if (nested === undefined || alone === undefined) return json;
  const { transformers_version } = json;
  return {
    ...(json[nested] as Record<string, unknown>),
    architectures: [architectureOf({ model_type: alone }).transformers],
    model_type: alone,
    tie_word_embeddings: config.tie_word_embeddings,
    ...(transformers_version !== undefined && { transformers_version }),
  };
}
