import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { useGpu } from "../../kernels/harness.ts";
import { TINY_QWEN35 } from "../fixtures.ts";
import { grpoRecipe, sums, tinyChatModel, trainGrpo } from "../grpo/fixtures.ts";

/** Ends at one byte of four: completions, and so micro-batches, are of all lengths. */
const SHORT = { eos: Array.from({ length: 64 }, (_, i) => i) };

describe("the memory of a GRPO run", () => {
  const gpu = useGpu();

  it.each<[string, Record<string, unknown>, { eos?: number[]; qwen35?: boolean }?]>([
    ["LoRA", {}],
    ["LoRA, bf16", { bf16: true, beta: 0.04 }],
    ["with a reference", { beta: 0.04 }],
    ["with a reference that is the adapter it goes on from", { beta: 0.04, lora_r: 16, adapter_name_or_path: "first" }],
    ["all weights", { use_peft: false }],
    ["off policy", { num_iterations: 2, per_device_train_batch_size: 8, gradient_accumulation_steps: 4 }],
    ["evaluation on longer prompts", { eval_strategy: "steps", eval_steps: 1, per_device_eval_batch_size: 32 }],
    ["micro-batches of unlike lengths", { per_device_train_batch_size: 8, gradient_accumulation_steps: 4 }, SHORT],
    ["Qwen3.5", {}, { qwen35: true }],
    [
      "Qwen3.5, micro-batches of unlike lengths",
      { per_device_train_batch_size: 8, gradient_accumulation_steps: 4, max_completion_length: 72 },
      { ...SHORT, qwen35: true },
    ],
  ])("stays within the forecast: %s", async (_, options, { eos, qwen35 } = {}) => {
    const continued = "adapter_name_or_path" in options;
    const first = memoryFolder("first");
    if (continued) await trainGrpo(gpu(), { recipe: grpoRecipe({ max_steps: 1, lora_r: 16 }), output: first });
    await gpu().settle();
    const { pool } = gpu();
    pool.trim();
    const before = pool.ledger.allocated;
    pool.ledger.peak = before;
    const recipe = grpoRecipe({
      per_device_train_batch_size: 32,
      max_completion_length: 24,
      max_steps: 3,
      ...options,
    });
    const evalRows = sums(20).map((row) => ({ ...row, row: { ...row.row, question: `${"1+".repeat(60)}1=` } }));
    const { prepared } = await trainGrpo(gpu(), {
      recipe,
      model: await tinyChatModel(eos, 1, qwen35 ? TINY_QWEN35 : undefined),
      adapter: continued ? first : null,
      evalRows: "eval_strategy" in options ? evalRows : null,
      onEvent: (event, { prepared: { forecast } }) => {
        if (event.type === "start") pool.budget = before + forecast.peak; // exclude memory of earlier tests
        return undefined;
      },
    });
    const peak = pool.ledger.peak - before;
    expect(peak / prepared.forecast.peak, `ledger ${peak}, forecast ${prepared.forecast.peak}`).toBeLessThanOrEqual(1);
    expect(peak / prepared.forecast.peak).toBeGreaterThan(0.7);
  });
});
