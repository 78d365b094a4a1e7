import type { Gpu } from "../src/gpu/device.ts";
import { sizeOf } from "../src/gpu/tensor.ts";
import { buildModel, type LoraConfig } from "../src/model/build.ts";
import { type ModelConfig, parseModelConfig } from "../src/model/config.ts";
import { type GenerateOptions, generate } from "../src/model/generate.ts";
import { initAdapter } from "../src/model/load.ts";
import { PROJECTIONS, projectionShape } from "../src/model/names.ts";
import type { Transformer } from "../src/model/transformer.ts";
import { uniformFrom } from "../src/train/seed.ts";
import { type BenchRow, fillRandom, median, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

const GREEDY = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };
const SAMPLED = { ...GREEDY, temperature: 0.7, top_k: 50, top_p: 0.9 };
const PROMPT = 32;

/** The embedded model's shapes, with the adapter that GRPO trains on it. */
const TINY = {
  model_type: "qwen2",
  hidden_size: 96,
  intermediate_size: 256,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 304,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: true,
};
const LORA: LoraConfig = { r: 16, lora_alpha: 32, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };

/**
 * Floating-point operations of one decoded token by the model's mathematics: 2 for each entry of the linear layers and of
 * the output table. Norms, attention and sampling do not count.
 */
export function tokenFlops(config: ModelConfig, rank = 0): number {
  let entries = 0;
  for (const projection of PROJECTIONS) {
    const [out, into] = projectionShape(config, projection);
    entries += out * into + rank * (out + into);
  }
  return 2 * (config.num_hidden_layers * entries + config.vocab_size * config.hidden_size);
}

/** A model of random weights, about as large as a trained one's: 0.02 on average. */
function randomModel(gpu: Gpu, config: ModelConfig, lora: LoraConfig | null): Transformer {
  const { model, slots } = buildModel(gpu, config, lora ? { lora } : "none", () => "bf16");
  for (const [name, shards] of slots) {
    for (const { tensor } of shards) {
      if (name.endsWith("norm.weight"))
        gpu.write(tensor, new Uint16Array(sizeOf(tensor.shape)).fill(0x3f80)); // ones
      else fillRandom(gpu, tensor, 1 / 16);
    }
  }
  if (lora) initAdapter(gpu, model, uniformFrom(1));
  return model;
}

interface PassTime {
  ms: number;
  cpu: number;
}

/** Milliseconds, and those of CPU time of all threads of this process. */
function now(): PassTime {
  const { user, system } = process.cpuUsage();
  return { ms: performance.now(), cpu: (user + system) / 1000 };
}

/**
 * Time of one decoding pass: that between the first and the last block of tokens that come back, so that neither
 * the prompt nor any compilation counts, and every read-back but the first does.
 */
async function passTime(
  model: Transformer,
  batch: number,
  options: typeof GREEDY,
  block: number,
  blocks: number,
): Promise<PassTime> {
  const { vocab_size } = model.config;
  const prompt_ids = Array.from({ length: PROMPT }, (_, i) => (i * 7919 + 11) % vocab_size);
  const requests = Array.from({ length: batch }, (_, sequence) => ({ prompt_ids, sequence }));
  const ends: PassTime[] = [];
  const settings: GenerateOptions = {
    ...options,
    max_new_tokens: block * blocks,
    eos_token_ids: [],
    seed: 1,
    slots: batch,
    block,
    onTokens: (_, request) => void (request === 0 && ends.push(now())),
  };
  await generate(model, requests, settings);
  const [first, last] = [ends[0], ends[ends.length - 1]];
  const passes = block * (blocks - 1);
  return { ms: (last.ms - first.ms) / passes, cpu: (last.cpu - first.cpu) / passes };
}

export interface GenerateBenchOptions {
  rounds: number;
  layers?: number;
}

/**
 * Decoding in tokens/s: greedy and sampled, one sequence and 16, at Qwen2.5-0.5B's shapes in bf16; and the 64 sequences
 * that GRPO's default has on the embedded model's shapes. Ratios are of tokens/s, round by round.
 */
export async function benchGenerate(gpu: Gpu, { rounds, layers }: GenerateBenchOptions): Promise<BenchRow[]> {
  const large = randomModel(gpu, benchModel(layers), null);
  const tiny = randomModel(gpu, parseModelConfig(TINY, "the embedded model"), LORA);
  const about = (model: Transformer, batch: number) => {
    const { num_hidden_layers, hidden_size } = model.config;
    return `${num_hidden_layers} layers of ${hidden_size}, batch ${batch}`;
  };
  const kinds = [
    { what: "greedy 1", model: large, batch: 1, options: GREEDY, block: 4, blocks: 3 },
    { what: "sampled 1", model: large, batch: 1, options: SAMPLED, block: 4, blocks: 3, against: "greedy 1" },
    { what: "greedy 16", model: large, batch: 16, options: GREEDY, block: 4, blocks: 3, against: "greedy 1" },
    { what: "sampled 16", model: large, batch: 16, options: SAMPLED, block: 4, blocks: 3, against: "greedy 16" },
    { what: "tiny greedy 64", model: tiny, batch: 64, options: GREEDY, block: 16, blocks: 5 },
    {
      what: "tiny sampled 64",
      model: tiny,
      batch: 64,
      options: { ...GREEDY, temperature: 1 },
      block: 16,
      blocks: 5,
      against: "tiny greedy 64",
    },
  ];
  const once = ({ model, batch, options, block, blocks }: (typeof kinds)[number]) =>
    passTime(model, batch, options, block, blocks);
  for (const kind of kinds) await passTime(kind.model, kind.batch, kind.options, 1, 2); // compiles
  gpu.profiler?.reset();
  const times = kinds.map((): PassTime[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, kind] of kinds.entries()) times[i].push(await once(kind));
  }
  const subjects = kinds.map(({ what, model, batch, against }) => ({
    what,
    shape: about(model, batch),
    dtype: "bf16",
    flops: batch * tokenFlops(model.config, model === tiny ? LORA.r : 0),
    run() {},
    against,
  }));
  const wall = times.map((rounds) => rounds.map(({ ms }) => ms));
  return rowsOf(gpu, subjects, wall).map((row, i) => {
    const base = kinds.findIndex(({ what }) => what === kinds[i].against);
    const against = base < 0 ? null : `tokens/s of ${kinds[base].what}`;
    // tokens/s over tokens/s
    const ratio = (unit: keyof PassTime) => {
      if (base < 0) return null;
      const more = kinds[i].batch / kinds[base].batch;
      return median(times[i].map((time, round) => (more * times[base][round][unit]) / time[unit]));
    };
    return {
      ...row,
      tokens_per_s: (1000 * kinds[i].batch) / row.median_ms,
      ratio: ratio("ms"),
      against,
      cpu_ms: median(times[i].map(({ cpu }) => cpu)),
      cpu_ratio: ratio("cpu"),
    };
  });
}
