import { beforeAll, describe, expect, it } from "vitest";
import { writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { initAdapter, loadModel } from "../../../src/model/files/load.ts";
import { type GenerateOptions, generate } from "../../../src/model/generate/generate.ts";
import type { Transformer } from "../../../src/model/transformer.ts";
import { tokenLogps } from "../../../src/train/grpo/objective.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";
import { integers, TINY } from "../fixtures.ts";

// A condition of GRPO: generation reports the same log-probs as the trainer's own forward pass, so that the importance
// ratio of the first iteration is 1. Both compute them under the sampling temperature, before repetition
// penalty, top-k, top-p and min-p, as TRL does.

const PLAIN: GenerateOptions = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 40,
  eos_token_ids: [7],
  seed: 3,
};
const SETTINGS: [string, Partial<GenerateOptions>][] = [
  ["nothing but chance", {}],
  ["a low temperature", { temperature: 0.6 }],
  ["a high temperature, top-k", { temperature: 1.4, top_k: 5 }],
  ["top-p, min-p", { top_p: 0.7, min_p: 0.05 }],
  ["a repetition penalty", { repetition_penalty: 1.3 }],
  ["everything", { temperature: 0.8, top_k: 30, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.1 }],
];
const QWEN3 = { ...TINY, model_type: "qwen3" as const, head_dim: 24, tie_word_embeddings: false };

const device = useGpu();

describe.each([
  ["qwen2", TINY],
  ["qwen3, with heads wider than the stream and a table of its own", QWEN3],
])("log-probs of completions: %s", (_, spec) => {
  let model: Transformer;

  beforeAll(async () => {
    const folder = memoryFolder("on-policy");
    await writeRandomCheckpoint(folder, spec, 2);
    const lora = {
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0.1, // no effect outside training
      use_rslora: false,
      target_modules: ["q_proj", "k_proj", "o_proj", "up_proj", "down_proj"] as const,
    };
    model = await loadModel(device(), await openCheckpoint(folder), { trained: { lora } });
    initAdapter(device(), model, uniformFrom(4));
    const random = uniformFrom(5);
    for (const { name, size } of model.store!.parameters) {
      if (!name.includes("lora_B")) continue;
      const values = Float32Array.from({ length: size }, () => 0.6 * (random() - 0.5)); // B is not 0
      model.store!.write(device(), name, values);
    }
  });

  it.each(SETTINGS)("%s", async (_, settings) => {
    const next = integers(8);
    const options = { ...PLAIN, ...settings };
    const prompts = Array.from({ length: 3 }, () => Array.from({ length: 1 + next(30) }, () => next(256)));
    const requests = [...prompts, ...prompts].map((prompt_ids, sequence) => ({ prompt_ids, sequence }));
    for (const policy of [model, model.withoutAdapter()]) {
      const made = await generate(policy, requests, { ...options, slots: 4 });
      const sequences = requests.map(({ prompt_ids }, i) => ({ prompt_ids, completion_ids: made[i].ids }));
      const record = device().recorder();
      const pending = tokenLogps(record, policy, sequences, options);
      record.submit();
      const { logps } = await pending;
      let tokens = 0;
      let worst = 0;
      made.forEach(({ ids, logps: drawn }, i) => {
        expect([drawn.length, logps[i].length]).toEqual([ids.length, ids.length]);
        tokens += ids.length;
        drawn.forEach((logp, t) => {
          const off = Math.abs(logp - logps[i][t]);
          worst = Math.max(worst, off); // NaN propagates
        });
      });
      expect(tokens).toBeGreaterThan(100);
      expect(worst).toBeLessThan(1e-3);
    }
  });
});
