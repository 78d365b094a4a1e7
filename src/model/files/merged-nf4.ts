import { nf4Tensors } from "../../io/bitsandbytes.ts";
import type { TensorData } from "../../io/safetensors.ts";
import type { MergedTensor } from "./merge.ts";

/**
 * A merged weight as the tensors that bitsandbytes' 4-bit checkpoints hold for it.
 *
 * A safetensors header comes before all data, and the state of a weight is text whose length its values decide: so a weight
 * is quantised twice, for its scales now and for its codes when they are written. Scales are kept, a byte for 64 values;
 * of values and codes no more than one weight is in memory.
 *
 * @param dtype in which transformers will compute with it
 * @param onPass told of each of the two times
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
