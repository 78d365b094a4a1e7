import { readFileSync } from "node:fs";
import { encodePng } from "../scripts/ocr/png.ts";
import { memoryFolder } from "../src/io/memory-folder.ts";
import { bytesOf, encodeSafetensors, type TensorData } from "../src/io/safetensors.ts";
import type { Folder } from "../src/io/storage.ts";
import { tensorsOf, towerOf } from "../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../src/model/config.ts";
import { mixSeed, uniformFrom } from "../src/train/seed.ts";
import { visionConfig } from "./model/vision/fixtures.ts";

/** A PNG of red, green and blue by place. */
export function png(width: number, height: number, colour: (x: number, y: number) => readonly number[]): Uint8Array {
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) pixels.set(colour(i % width, Math.floor(i / width)), 3 * i);
  return encodePng(width, height, pixels);
}

/** A plain image of one grey. */
export const grey = (width: number, height: number, value: number) => png(width, height, () => [value, value, value]);

const TEMPLATE =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** A tiny Qwen3.5 that sees, with random weights, the embedded model's tokenizer and a processor of 16 × 16 to 64 × 64 pixels. */
export async function seeingModel(): Promise<Folder> {
  const assets = new URL("../assets/tiny/", import.meta.url);
  const read = (name: string) => JSON.parse(readFileSync(new URL(name, assets), "utf8"));
  const tokenizer = read("tokenizer.json");
  const first = read("config.json").vocab_size;
  ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"].forEach((content, i) => {
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    tokenizer.added_tokens.push({ id: first + i, content, ...plain });
  });
  const json = visionConfig();
  const config = {
    ...json,
    image_token_id: first + 1,
    text_config: { ...(json.text_config as object), vocab_size: first + 4 },
  };
  const folder = memoryFolder("seeing");
  const parsed = parseModelConfig(config);
  const tensors = [...tensorsOf(parsed).values(), ...towerOf(parsed)!.tensors.values()];
  const made = tensors.map(({ name, shape, role }, i): TensorData => {
    const draw = uniformFrom(mixSeed(5, i));
    const visual = name.startsWith("model.visual.");
    const centre = role === "norm" && visual && name.endsWith(".weight") ? 1 : 0;
    const scale = role === "norm" ? 0.1 : 0.3;
    const values = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => centre + scale * (draw() - 0.5),
    );
    const published = visual ? name : name.replace(/^model\./, "model.language_model.");
    return { name: published, shape, dtype: "F32", data: bytesOf(values) };
  });
  await folder.write("model.safetensors", encodeSafetensors(made, { format: "pt" }));
  await folder.write("config.json", JSON.stringify(config));
  await folder.write("tokenizer.json", JSON.stringify(tokenizer));
  await folder.write(
    "tokenizer_config.json",
    JSON.stringify({ ...read("tokenizer_config.json"), chat_template: TEMPLATE }),
  );
  await folder.write("generation_config.json", readFileSync(new URL("generation_config.json", assets), "utf8"));
  const size = { shortest_edge: 256, longest_edge: 4096 };
  await folder.write(
    "preprocessor_config.json",
    JSON.stringify({ size, patch_size: 8, image_processor_type: "Qwen2VLImageProcessorFast" }),
  );
  return folder;
}
