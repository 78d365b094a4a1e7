import type { Transformer } from "../transformer.ts";
import { generate, type SamplingOptions } from "./generate.ts";

/** The properties of coming completions that kernels depend on. */
interface Foreseen extends SamplingOptions {
  /** sequences decoded together */
  slots: number;
  /** tokens of the prompts: the shortest and the longest */
  prompts: readonly number[];
  max_new_tokens: number;
}

/**
 * Records the kernels of generation on a fake Gpu: short and long sequences, and fewer and fewer rows, because
 * sequences end at different times and products of fewer rows use other tiles.
 */
export async function recordGeneration(model: Transformer, foreseen: Foreseen): Promise<void> {
  const { slots, prompts, max_new_tokens, ...sampling } = foreseen;
  const counts = [slots];
  for (let count = 1; count < slots; count *= 2) counts.push(count);
  const most = model.config.max_position_embeddings - 1;
  const lengths = [Math.min(...prompts), Math.max(...prompts) + max_new_tokens - 1];
  for (const length of new Set(lengths.map((length) => Math.max(1, Math.min(most, length))))) {
    const prompt_ids = new Array<number>(length).fill(0);
    for (const count of counts) {
      const requests = Array.from({ length: count }, (_, sequence) => ({ prompt_ids, sequence }));
      const stop = () => 1; // one block is enough
      await generate(model, requests, {
        ...sampling,
        max_new_tokens: 1,
        eos_token_ids: [],
        seed: 0,
        slots,
        stop,
      });
    }
  }
}
