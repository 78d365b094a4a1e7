import { type CheckpointSpec, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { writeAdapter } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { LoraConfig } from "../../src/model/adapters/lora.ts";
import { parameterSpecs } from "../../src/model/build.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { uniformFrom } from "../../src/train/seed.ts";
import { tinyTokenizerFiles } from "../data/fixtures.ts";
import { TINY } from "../train/fixtures.ts";

/** A model for the tiny tokenizer of tests/data/fixtures.ts, whose ids end at 100. */
export const TEXT_SPEC: CheckpointSpec = { ...TINY, vocab_size: 101, max_position_embeddings: 256 };
export const GENERATION_CONFIG = { do_sample: true, temperature: 0.9, top_k: 40, eos_token_id: [98, 100] };

/** A random model that writes text: weights, tokenizer with a ChatML template, generation_config.json. */
export async function writeTextModel(
  folder: Folder = memoryFolder("text"),
  { spec = TEXT_SPEC, generation = GENERATION_CONFIG as Record<string, unknown> | null, seed = 1 } = {},
): Promise<Folder> {
  await writeRandomCheckpoint(folder, spec, seed);
  if (generation) await folder.write("generation_config.json", JSON.stringify(generation));
  else await folder.remove("generation_config.json");
  const { tokenizerJson, tokenizerConfig } = tinyTokenizerFiles();
  await folder.write("tokenizer.json", tokenizerJson);
  await folder.write("tokenizer_config.json", tokenizerConfig);
  return folder;
}

/** A PEFT folder of random matrices for a checkpoint. */
export async function writeRandomAdapter(folder: Folder, model: Folder, lora: LoraConfig, seed = 1): Promise<Folder> {
  const config = parseModelConfig(JSON.parse(await model.readText("config.json")));
  const random = uniformFrom(seed);
  const tensors = parameterSpecs(config, { lora }).map(({ name, shape }) => ({
    name,
    shape,
    data: Float32Array.from({ length: shape[0] * shape[1] }, () => random() - 0.5),
  }));
  const settings = { ...lora, target_modules: [...lora.target_modules], base_model_name_or_path: model.path };
  await writeAdapter(folder, settings, tensors);
  return folder;
}
