import { UnsupportedError } from "../../errors.ts";
import { adapterName } from "../../io/adapter-names.ts";
import { type Checkpoint, CONFIG_FILE } from "../../io/checkpoint.ts";
import { encodeGguf, type GgufTensor, type GgufValue } from "../../io/gguf/gguf.ts";
import { readAdapter } from "../../io/peft.ts";
import { bytesOf } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import { targetsOf } from "../adapters/targets.ts";
import { architectureOf } from "../architectures/registry.ts";
import { parseModelConfig } from "../config.ts";
import { ggufName } from "./gguf.ts";

/**
 * An adapter alone as GGUF, for llama.cpp and the ADAPTER line of a Modelfile: `….lora_a` `[r, in]` and `….lora_b` `[out, r]` in F32.
 *
 * llama.cpp scales a product by adapter.lora.alpha over its rank. A layer with another scale (rsLoRA, rank_pattern,
 * alpha_pattern) has the quotient in its `lora_b`.
 *
 * @throws {UnsupportedError} DoRA, trained tables or rows, the vision tower, and layers whose values llama.cpp reorders
 * @see llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp
 */
export async function encodeGgufLora(
  checkpoint: Checkpoint,
  adapter: Folder,
  name: string,
): Promise<AsyncGenerator<Uint8Array>> {
  const where = `${checkpoint.folder.path}/${CONFIG_FILE}`;
  const config = parseModelConfig(checkpoint.config, where);
  const { gguf, model_type } = architectureOf(config);
  if (!gguf) throw unsupported(`llama.cpp does not implement ${model_type}`);
  const { config: lora, tensors, read } = await readAdapter(adapter);
  if (lora.use_dora) throw unsupported("llama.cpp has no DoRA");
  const targets = targetsOf(config, lora);
  const pairs = targets.map(({ path, r, scale }) => ({
    ...{ path, r, scale, base: `${path}.weight` },
    ...{ a: adapterName(path, "lora_A"), b: adapterName(path, "lora_B") },
  }));
  const known = new Set(pairs.flatMap(({ a, b }) => [a, b]));
  const other = [...tensors.keys()].find((one) => !known.has(one));
  if (other)
    throw unsupported(`it also trains ${/embed_tokens|lm_head/.test(other) ? "the embedding or the head" : other}`);
  const files: GgufTensor[] = [];
  for (const { path, r, scale, base, a, b } of pairs) {
    if (path.startsWith("model.visual.")) throw unsupported("it changes the vision tower");
    if (gguf.rewrite?.(config, base)) throw unsupported(`llama.cpp stores ${path} in another order`);
    const factor = (scale * r) / lora.lora_alpha;
    const own = ggufName(config, base);
    const data = async function* (from: string, by: number) {
      const values = await read(from);
      yield bytesOf(by === 1 ? values : values.map((value) => value * by));
    };
    files.push(
      { name: `${own}.lora_a`, type: "F32", shape: tensors.get(a)!.shape, data: data(a, 1) },
      { name: `${own}.lora_b`, type: "F32", shape: tensors.get(b)!.shape, data: data(b, factor) },
    );
  }
  const text = (key: string, value: string): [string, GgufValue] => [key, { type: "string", value }];
  const metadata: [string, GgufValue][] = [
    text("general.architecture", gguf.architecture),
    text("general.type", "adapter"),
    text("general.name", name),
    text("adapter.type", "lora"),
    ["adapter.lora.alpha", { type: "f32", value: lora.lora_alpha }],
    ["general.file_type", { type: "u32", value: 0 }], // F32
  ];
  return encodeGguf(metadata, files);
}

function unsupported(why: string): UnsupportedError {
  return new UnsupportedError(
    `Cannot write this adapter as a GGUF LoRA: ${why}. Export the whole model as gguf instead`,
  );
}
