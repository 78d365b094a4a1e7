import { nf4Tensors } from "../../io/bitsandbytes.ts";
import type { TensorData } from "../../io/safetensors.ts";
import type { MergedTensor } from "./merge.ts";

/**
 * The tensors that a bitsandbytes 4-bit checkpoint stores for one merged weight.
 *
 * Each weight is quantised twice: first for its scales, then for its codes when they are written. A safetensors header
 * comes before all data, and the length of a weight's quant_state depends on its values. Scales stay in memory (a byte
 * for 64 values); values and codes are in memory for one weight at a time.
 *
 * @param dtype compute dtype for transformers
 * @param onPass called for each of the two passes
 */
export async function nf4Parts(
  tensor: MergedTensor,
  dtype: "bfloat16" | "float16" | "float32",
  onPass: () => void,
): Promise<TensorData[]> {
  const quantized = async () => {
    const all = nf4Tensors(tensor.name, tensor.shape, await valuesOf(tensor), { double: true, dtype });
    onPass();
    return all;
  };
  const codes = async function* () {
    yield (await quantized()).find(({ name }) => name === tensor.name)!.data;
  };
  return (await quantized()).map((part) => (part.name === tensor.name ? { ...part, data: codes() } : part));
}

async function valuesOf({ shape, rows }: MergedTensor): Promise<Float32Array> {
  const all = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  let at = 0;
  for await (const values of rows()) {
    all.set(values, at);
    at += values.length;
  }
  return all;
}
