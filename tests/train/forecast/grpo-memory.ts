import { expect } from "vitest";
import type { CheckpointSpec } from "../../../scripts/random-checkpoint.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { grpoRecipe, sums, tinyChatModel, trainGrpo } from "../grpo/fixtures.ts";

/** Ends at one byte of four: completions, and so micro-batches, are of all lengths. */
export const SHORT = { eos: Array.from({ length: 64 }, (_, i) => i) };

/** Trains, and compares the peak of the pool with the forecast. */
export async function staysWithin(
  gpu: Gpu,
  options: Record<string, unknown>,
  { eos, spec }: { eos?: number[]; spec?: CheckpointSpec } = {},
): Promise<void> {
  const continued = "adapter_name_or_path" in options;
  const first = memoryFolder("first");
  if (continued) await trainGrpo(gpu, { recipe: grpoRecipe({ max_steps: 1, lora_r: 16 }), output: first });
  await gpu.settle();
  const { pool } = gpu;
  pool.trim();
  const before = pool.ledger.allocated;
  pool.ledger.peak = before;
  const recipe = grpoRecipe({
    per_device_train_batch_size: 32,
    max_completion_length: 24,
    max_steps: 2,
    ...options,
  });
  const evalRows = sums(20).map((row) => ({ ...row, row: { ...row.row, question: `${"1+".repeat(60)}1=` } }));
  const { prepared } = await trainGrpo(gpu, {
    recipe,
    model: await tinyChatModel(eos, 1, spec),
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
}
