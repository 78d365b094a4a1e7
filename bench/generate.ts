import type { Gpu } from "../src/gpu/device.ts";
import { parseModelConfig } from "../src/model/config.ts";
import { type GenerateOptions, generate, type SamplingOptions } from "../src/model/generate/generate.ts";
import type { Transformer } from "../src/model/transformer.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, now, ratioOf, type Subject, type Time, type Timed } from "./measure.ts";
import { loraOf, randomModel } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel, tokenFlops } from "./sizes.ts";

export const GREEDY: SamplingOptions = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };
const SAMPLED: SamplingOptions = { ...GREEDY, temperature: 0.7, top_k: 50, top_p: 0.9 };

/** The embedded model's shapes, with GRPO's adapter. */
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
const RANK = 16;

interface PassOptions {
  batch: number;
  sampling: SamplingOptions;
  /** tokens of the prompt (32) */
  prompt?: number;
  /** passes between two read-backs, and the number of such blocks; the first block does not count */
  block?: number;
  blocks?: number;
}

/**
 * Time of one decoding pass, measured between the first and the last block of tokens that are read back. The prompt,
 * compilation and the first read-back do not count.
 */
function passTime(model: Transformer, { batch, sampling, prompt = 32, block = 4, blocks = 3 }: PassOptions): Timed {
  const { vocab_size } = model.config;
  const prompt_ids = Array.from({ length: prompt }, (_, i) => (i * 7919 + 11) % vocab_size);
  const requests = Array.from({ length: batch }, (_, sequence) => ({ prompt_ids, sequence }));
  return async (times) => {
    const ends: Time[] = [];
    const runs = Math.max(blocks, 1 + Math.ceil(times / block)); // positions for all passes
    const settings: GenerateOptions = {
      ...sampling,
      max_new_tokens: block * runs,
      eos_token_ids: [],
      seed: 1,
      slots: batch,
      block,
      onTokens: (_, request) => void (request === 0 && ends.push(now())),
    };
    await generate(model, requests, settings);
    const [first, last] = [ends[0], ends[ends.length - 1]];
    const passes = block * (runs - 1);
    return { ms: (last.ms - first.ms) / passes, cpu: (last.cpu - first.cpu) / passes };
  };
}

/** Passes as a subject. FLOPs and tokens are per pass. */
export function passOf(model: Transformer, what: string, options: PassOptions, against?: string): Subject {
  const { num_hidden_layers, hidden_size } = model.config;
  const rank = model.weights.blocks[0][0].body.first[0].lora?.r ?? 0;
  return {
    what,
    shape: `${num_hidden_layers} layers of ${hidden_size}, batch ${options.batch}`,
    dtype: "bf16",
    flops: options.batch * tokenFlops(model.config, rank),
    tokens: options.batch,
    run: { timed: passTime(model, options) },
    against,
  };
}

/** Greedy and sampled decoding, one sequence and 16, at the published shapes. */
export function decodingSubjects(model: Transformer): Subject[] {
  return [
    passOf(model, "greedy 1", { batch: 1, sampling: GREEDY }),
    passOf(model, "sampled 1", { batch: 1, sampling: SAMPLED }, "greedy 1"),
    passOf(model, "greedy 16", { batch: 16, sampling: GREEDY }, "greedy 1"),
    passOf(model, "sampled 16", { batch: 16, sampling: SAMPLED }, "greedy 16"),
  ];
}

/** Ratio of two subjects' tokens/s, round by round. */
export function tokenRate(
  subjects: readonly Subject[],
  times: readonly (readonly Time[])[],
  i: number,
  base: number,
  unit: keyof Time,
): number {
  return ratioOf(times[base], times[i], unit, subjects[i].tokens! / subjects[base].tokens!);
}

interface GenerateBenchOptions {
  rounds: number;
  layers?: number;
}

/**
 * Decoding in tokens/s: greedy and sampled, one sequence and 16, at Qwen2.5-0.5B's shapes in bf16; and 64 sequences, GRPO's
 * default, at the embedded model's shapes. Ratios are of tokens/s, round by round.
 */
export async function benchGenerate(gpu: Gpu, { rounds, layers }: GenerateBenchOptions): Promise<BenchRow[]> {
  const large = randomModel(gpu, benchModel(layers));
  const config = parseModelConfig(TINY, "the embedded model");
  const tiny = randomModel(gpu, config, loraOf(config, RANK));
  const long = { batch: 64, block: 16, blocks: 5 };
  const subjects = [
    ...decodingSubjects(large),
    passOf(tiny, "tiny greedy 64", { ...long, sampling: GREEDY }),
    passOf(tiny, "tiny sampled 64", { ...long, sampling: { ...GREEDY, temperature: 1 } }, "tiny greedy 64"),
    ...yardsticks(gpu, 256),
  ];
  const times = await interleave(gpu, subjects, rounds);
  return rowsOf(gpu, subjects, times).map((row, i) => {
    const base = subjects.findIndex(({ what }) => what === subjects[i].against);
    if (base < 0) return row;
    return {
      ...row,
      ratio: tokenRate(subjects, times, i, base, "ms"),
      cpu_ratio: tokenRate(subjects, times, i, base, "cpu"),
      against: `tokens/s of ${subjects[base].what}`,
    };
  });
}
