import { UnsupportedError } from "../errors.ts";
import type { Checkpoint } from "../io/checkpoint.ts";
import { bytesOf, DTYPE_BYTES, f32ToBf16, f32ToF16, type TensorData, toFloat32 } from "../io/safetensors.ts";
import type { Folder } from "../io/storage.ts";
import { loraScale } from "./build.ts";
import { parseModelConfig } from "./config.ts";
import { openAdapterFor } from "./load.ts";
import { loraName, moduleName } from "./names.ts";

/** Elements of a weight that are merged at a time. */
const PIECE = 1 << 20;

/**
 * The tensors of a model with an adapter put into them, W + s·B·A: added in f32, stored in the base's own dtype. Give them
 * to `encodeSafetensors`: weights are read, merged and handed on a piece at a time.
 *
 * @param onBytes told the bytes that were made so far
 * @throws {FormatError} an adapter for another base
 * @throws {UnsupportedError} base weights that are neither f32, f16 nor bf16
 */
export async function mergeAdapter(
  checkpoint: Checkpoint,
  adapterFolder: Folder,
  onBytes: (done: number, total: number) => void = () => {},
): Promise<TensorData[]> {
  const config = parseModelConfig(checkpoint.config, `${checkpoint.folder.path}/config.json`);
  const { adapter, lora } = await openAdapterFor(config, adapterFolder);
  const scale = loraScale(lora);
  const pairs = new Map<string, { a: string; b: string }>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const projection of lora.target_modules) {
      pairs.set(`${moduleName(layer, projection)}.weight`, {
        a: loraName(layer, projection, "lora_A"),
        b: loraName(layer, projection, "lora_B"),
      });
    }
  }
  let done = 0;
  const counted = async function* (pieces: AsyncIterable<Uint8Array>) {
    for await (const piece of pieces) {
      yield piece;
      done += piece.length;
      onBytes(done, checkpoint.totalBytes);
    }
  };
  const merged = async function* (name: string, pair: { a: string; b: string }): AsyncGenerator<Uint8Array> {
    const { dtype, shape } = checkpoint.tensors.get(name)!;
    const store = STORE[dtype];
    if (!store) throw new UnsupportedError(`Cannot merge into ${name}: its weights are ${dtype}, not F32, F16 or BF16`);
    const [out, inner] = shape;
    const [a, b] = [await adapter.read(pair.a), await adapter.read(pair.b)];
    const width = inner * DTYPE_BYTES[dtype];
    const rows = Math.max(1, Math.floor(PIECE / inner));
    for (let row = 0; row < out; row += rows) {
      const end = Math.min(row + rows, out);
      const values = toFloat32(await checkpoint.read(name, row * width, end * width), dtype).slice();
      addProduct(values, a, b, { row, end, inner, r: lora.r, scale });
      yield bytesOf(store(values));
    }
  };
  return [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => {
    const pair = pairs.get(name);
    const pieces = pair ? merged(name, pair) : plain(checkpoint, name);
    return { name, dtype, shape, data: counted(pieces) };
  });
}

const STORE: Partial<Record<string, (values: Float32Array) => Float32Array | Uint16Array>> = {
  F32: (values) => values,
  F16: f32ToF16,
  BF16: f32ToBf16,
};

/** Rows `[row, end)` of W += s·B·A. */
function addProduct(
  w: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { row, end, inner, r, scale }: { row: number; end: number; inner: number; r: number; scale: number },
): void {
  for (let i = row; i < end; i++) {
    const at = (i - row) * inner;
    for (let k = 0; k < r; k++) {
      const factor = scale * b[i * r + k];
      if (factor === 0) continue;
      const from = k * inner;
      for (let j = 0; j < inner; j++) w[at + j] += factor * a[from + j];
    }
  }
}

async function* plain(checkpoint: Checkpoint, name: string): AsyncGenerator<Uint8Array> {
  const { begin, end } = checkpoint.tensors.get(name)!;
  const bytes = end - begin;
  for (let at = 0; at < bytes; at += 4 * PIECE) yield checkpoint.read(name, at, Math.min(at + 4 * PIECE, bytes));
}
