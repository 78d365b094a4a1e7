import { NotFoundError, UnsupportedError } from "../errors.ts";
import { type Dtype, openSafetensors } from "./safetensors.ts";
import type { Folder } from "./storage.ts";
import { readTorchFile } from "./torch-file.ts";

export const ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors";
const TORCH_FILE = "adapter_model.bin";
const MLX_FILE = "adapters.safetensors";
/** Most bytes of a `.bin` file: it is read into memory as a whole. */
const MOST_TORCH_BYTES = 2 ** 31;

/** The tensors of an adapter's file, under the names that they have there. */
interface Weights {
  tensors: ReadonlyMap<string, { dtype: Dtype; shape: readonly number[] }>;
  read(name: string): Promise<Uint8Array>;
}

/** Opens an adapter's weights: PEFT's safetensors or `.bin`, or MLX's. @throws {NotFoundError} neither */
export async function openWeights(folder: Folder): Promise<Weights> {
  for (const file of [ADAPTER_WEIGHTS_FILE, MLX_FILE]) {
    if (await folder.exists(file)) return openSafetensors(await folder.open(file));
  }
  if (!(await folder.exists(TORCH_FILE))) {
    throw new NotFoundError(
      `Cannot use the adapter ${folder.path}: it has neither ${ADAPTER_WEIGHTS_FILE} nor ${TORCH_FILE} nor ${MLX_FILE}`,
    );
  }
  const source = await folder.open(TORCH_FILE);
  if (source.size > MOST_TORCH_BYTES) {
    throw new UnsupportedError(
      `Cannot read ${source.name}: it has ${source.size} bytes, but a .bin file may have at most ${MOST_TORCH_BYTES}; save it as safetensors`,
    );
  }
  const tensors = readTorchFile(await source.read(0, source.size), source.name);
  return { tensors, read: async (name) => tensors.get(name)!.data };
}
