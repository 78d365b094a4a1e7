// Adapters beside PEFT: those trained here are loaded and merged by PEFT, those trained there are read here. Logits are compared
// in float32, of the adapter, of the merged model, and of its GGUF file. Not part of the suite: it needs Python with torch,
// transformers 5.18 and PEFT 0.21.
//
//   npx tsx scripts/oracle/adapters.ts PYTHON
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openGpu } from "../../src/cli/runs/open-gpu.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { type Checkpoint, openCheckpoint } from "../../src/io/checkpoint.ts";
import { encodeGguf } from "../../src/io/gguf/gguf.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { ggufMetadata, ggufTensors, openGgufCheckpoint } from "../../src/model/files/gguf.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { writeMerged } from "../../src/model/files/write-merged.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { loadSft, prepareSft, sft } from "../../src/session/sft.ts";
import { readTensors } from "../../tests/parity/parity-model.ts";
import { SPECS, writeRandomCheckpoint } from "../random-checkpoint.ts";

const PYTHON_SIDE = fileURLToPath(new URL("peft_adapters.py", import.meta.url));
const SPEC = { ...SPECS.tiny, vocab_size: 256, initializer_range: 0.1 };
const IDS = Array.from({ length: 24 }, (_, i) => (i * i * 7 + 3) % 256);
const BATCH = { input_ids: IDS, position_ids: IDS.map((_, i) => i), cu_seqlens: [0, IDS.length] };
/** The bases: cases whose names begin with `untied` are for the second. */
const BASES = { base: SPEC, untied: { ...SPEC, tie_word_embeddings: false } };
const baseOf = (name: string) => (name.startsWith("untied") ? "untied" : "base");
/** PEFT merges different rows of tied tables into both; here the merged model's tables are no longer tied. */
const MERGED_APART = ["tokens_apart"];
/** Relative error of logits in f32. */
const MOST = 1e-5;

const OURS: Record<string, Record<string, unknown>> = {
  dora: { use_dora: true },
  dora_rslora: { use_dora: true, use_rslora: true, lora_target_modules: "q_proj down_proj" },
  pissa: { init_lora_weights: "pissa" },
  pissa_rslora: { init_lora_weights: "pissa", use_rslora: true },
  pissa_dora: { init_lora_weights: "pissa", use_dora: true },
  embedding: { lora_modules_to_save: "embed_tokens" },
  head: { lora_modules_to_save: "lm_head" },
  embedding_and_head: { lora_modules_to_save: "embed_tokens lm_head", use_dora: true },
  tokens: { trainable_token_indices: [3, 200, 7] },
  tokens_dora: { trainable_token_indices: [3, 200, 7], use_dora: true },
  tokens_apart: { trainable_token_indices: { embed_tokens: [3, 200], lm_head: [10] } },
  untied_tokens: { trainable_token_indices: [3, 200, 7] },
  untied_tokens_of_both: { trainable_token_indices: { embed_tokens: [3, 200], lm_head: [10, 3, 7] } },
  untied_tokens_and_head: { trainable_token_indices: [3, 200, 7], lora_modules_to_save: "lm_head" },
  patterns: { rank_pattern: { q_proj: 8, "layers.1.mlp.*": 2 }, alpha_pattern: { "self_attn.q_proj": 3 } },
};

/** Trains an adapter for five steps. @returns logits of the model as it was trained */
async function trained(gpu: Gpu, base: Folder, output: Folder, values: Record<string, unknown>): Promise<Float32Array> {
  const common = { lora_r: 4, lora_alpha: 8, max_steps: 5, learning_rate: 1e-2, save_strategy: "no" };
  const { recipe } = parseRecipe({ ...common, lora_dropout: 0, output_dir: "out", dtype: "float32", ...values }, "sft");
  const train = [{ row: { input_ids: IDS, labels: IDS }, number: 1, file: "rows" }];
  const sources = { gpu, model: base, train };
  const prepared = await prepareSft(recipe, sources);
  const trainee = await loadSft(recipe, prepared, sources, "base");
  for await (const _ of sft(trainee, prepared.data, recipe, { output, resume: null }));
  return trainee.model.logits(BATCH);
}

/** Logits of an adapter beside its base, merged in f32, merged in f16, and of its GGUF file in f16. */
async function read(gpu: Gpu, checkpoint: Checkpoint, folder: Folder) {
  const config = parseModelConfig(checkpoint.config);
  const { adapter, lora } = await openAdapterFor(config, folder, checkpoint);
  const model = await loadModel(gpu, checkpoint, { dtype: "float32", trained: { lora } });
  await fillAdapter(gpu, model, adapter);
  const merged = async (dtype: "F32" | "F16") => {
    const to = memoryFolder(dtype);
    await writeMerged(to, checkpoint, folder, { dtype });
    return (await loadModel(gpu, await openCheckpoint(to))).logits(BATCH);
  };
  const file = memoryFolder("gguf");
  const metadata = ggufMetadata(checkpoint.config, config, { name: "model", quantization: "f16" });
  await file.write("model.gguf", encodeGguf(metadata, await ggufTensors(checkpoint, folder, "f16")));
  const gguf = await loadModel(gpu, await openGgufCheckpoint(file, "model.gguf"));
  return {
    adapter: await model.logits(BATCH),
    merged: await merged("F32"),
    half: await merged("F16"),
    gguf: await gguf.logits(BATCH),
  };
}

async function main([python]: string[]): Promise<number> {
  if (!python) {
    console.error("usage: npx tsx scripts/oracle/adapters.ts PYTHON");
    return 2;
  }
  const { gpu } = await openGpu();
  const home = mkdtempSync(join(tmpdir(), "adapters-"));
  let failed = 0;
  const show = (name: string, errors: Record<string, number>) => {
    const far = Object.values(errors).some((error) => !(error <= MOST));
    if (far) failed++;
    const figures = Object.entries(errors).map(([what, error]) => `${what} ${error.toExponential(1)}`);
    console.log(`${far ? "FAIL" : "ok  "} ${name}: ${figures.join(", ")}`);
  };
  try {
    const folder = nodeFolder(home);
    const checkpoints = new Map<string, Checkpoint>();
    for (const [name, spec] of Object.entries(BASES)) {
      await writeRandomCheckpoint(folder.folder(name), spec, 5);
      checkpoints.set(name, await openCheckpoint(folder.folder(name)));
    }
    const made = new Map<string, Float32Array>();
    for (const [name, values] of Object.entries(OURS)) {
      made.set(name, await trained(gpu, folder.folder(baseOf(name)), folder.folder("ours").folder(name), values));
    }
    writeFileSync(join(home, "ids.json"), JSON.stringify(IDS));
    execFileSync(python, [PYTHON_SIDE, home], { stdio: ["ignore", "ignore", "inherit"] });
    const ours = await readTensors(folder, "ours_logits.safetensors");
    for (const [name, logits] of made) {
      const here = await read(gpu, checkpoints.get(baseOf(name))!, folder.folder("ours").folder(name));
      show(`${name}, trained here`, {
        "in PEFT": relativeError(ours.get(name)!.data, logits),
        ...(!MERGED_APART.includes(name) && {
          "merged by PEFT": relativeError(ours.get(`${name}.merged`)!.data, logits),
        }),
        "loaded here": relativeError(here.adapter, logits),
        "merged here": relativeError(here.merged, logits),
        "GGUF beside merged in f16": relativeError(here.gguf, here.half),
      });
    }
    for (const [name, { data }] of await readTensors(folder, "theirs_logits.safetensors")) {
      const here = await read(gpu, checkpoints.get(baseOf(name))!, folder.folder("theirs").folder(name));
      show(`${name}, trained by PEFT`, {
        "read here": relativeError(here.adapter, data),
        "merged here": relativeError(here.merged, data),
        "GGUF beside merged in f16": relativeError(here.gguf, here.half),
      });
    }
  } finally {
    rmSync(home, { recursive: true });
  }
  return failed > 0 ? 1 : 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
