import { GRPO_LOSS_DEFAULTS } from "../shaders/loss/grpo-losses.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { gradNorm } from "../src/kernels/optimizer/grad-norm.ts";
import { grpoObjective, tokenLogps } from "../src/train/grpo/objective.ts";
import type { GrpoSequence } from "../src/train/grpo/sequences.ts";
import { GREEDY, passOf } from "./generate.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, type Subject } from "./measure.ts";
import { trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel, modelFlops } from "./sizes.ts";

const GENERATIONS = 8;
const PROMPT = 64;

/**
 * The three parts of a GRPO step at Qwen2.5-0.5B's shapes, one group of 8 completions: a decoding pass, the log-probs of the
 * completions, and the update.
 *
 * @param tokens per completion
 */
export async function benchGrpo(
  gpu: Gpu,
  { tokens, rounds, layers }: { tokens: number; rounds: number; layers?: number },
): Promise<BenchRow[]> {
  const { model, optimizer, r } = trainee(gpu, benchModel(layers));
  const { config } = model;
  const ids = (count: number, salt: number) =>
    Uint32Array.from({ length: count }, (_, i) => ((i + salt) * 7919 + 11) % config.vocab_size);
  const sequences = Array.from(
    { length: GENERATIONS },
    (_, s): GrpoSequence => ({
      prompt_ids: ids(PROMPT, 0),
      completion_ids: ids(tokens, 1 + s),
      advantage: s % 2 ? 1 : -1,
      old_logps: null,
      ref_logps: null,
    }),
  );
  const labelled = GENERATIONS * tokens;
  const all = GENERATIONS * (PROMPT + tokens);
  const shape = `${config.num_hidden_layers} layers, ${GENERATIONS} × (${PROMPT} + ${tokens}) tokens`;
  const update = modelFlops(config, all, labelled, r, GENERATIONS);
  const loss = {
    loss_type: "dapo",
    importance_sampling_level: "token",
    ...GRPO_LOSS_DEFAULTS,
    beta: 0,
    use_bias_correction_kl: true,
    off_policy_mask_threshold: null,
    top_entropy_quantile: 1,
    entropy_coef: null,
    temperature: 1,
    max_completion_length: tokens,
    num_items_in_batch: labelled,
  } as const;
  let step = 0;
  const subjects: Subject[] = [
    passOf(model, "GRPO decoding", {
      batch: GENERATIONS,
      sampling: { ...GREEDY, temperature: 1 },
      prompt: PROMPT,
    }),
    {
      what: "GRPO log-probs",
      shape,
      dtype: "bf16",
      flops: null,
      tokens: all,
      run: (record) => void tokenLogps(record, model, sequences, { temperature: 1 }),
      against: "GRPO update",
    },
    {
      what: "GRPO update",
      shape,
      dtype: "bf16",
      flops: update,
      tokens: all,
      run: (record) => {
        const store = model.store!;
        record.clear(store.grads);
        void grpoObjective(record, model, sequences, loss);
        optimizer.update(record, gradNorm(record, [store.grads], 1), 1e-6, ++step);
      },
    },
    ...yardsticks(gpu, 256),
  ];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds, 1000));
}
