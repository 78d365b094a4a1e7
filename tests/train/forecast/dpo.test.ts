import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { dpo, loadDpo, prepareDpo } from "../../../src/session/dpo.ts";
import { useGpu } from "../../kernels/harness.ts";
import { dpoRecipe, pairRows } from "../dpo/fixtures.ts";
import { tinyModel } from "../fixtures.ts";

describe("the ledger of a DPO run", () => {
  const gpu = useGpu();

  it.each([
    ["LoRA", {}],
    ["LoRA, bf16", { bf16: true }],
    ["log-probs of the reference taken beforehand", { precompute_ref_log_probs: true, precompute_ref_batch_size: 8 }],
    ["all weights", { use_peft: false, precompute_ref_log_probs: true }],
    ["evaluation in larger batches", { eval_strategy: "steps", eval_steps: 1, per_device_eval_batch_size: 32 }],
  ])("stays within the forecast: %s", async (_, options) => {
    const { pool } = gpu();
    pool.trim();
    const before = pool.ledger.allocated;
    pool.ledger.peak = before;
    const recipe = dpoRecipe({ per_device_train_batch_size: 8, max_steps: 4, ...options });
    const sources = {
      gpu: gpu(),
      model: await tinyModel(),
      train: pairRows(40),
      eval: "eval_strategy" in options ? pairRows(32, 5) : null,
    };
    const prepared = await prepareDpo(recipe, sources);
    const trainee = await loadDpo(recipe, prepared, sources, "tiny");
    pool.budget = before + prepared.forecast.peak; // memory of earlier tests is not this run's
    for await (const _event of dpo(trainee, prepared.data, recipe, { output: memoryFolder("out"), resume: null }));
    await gpu().settle();
    const peak = pool.ledger.peak - before;
    expect(peak / prepared.forecast.peak, `ledger ${peak}, forecast ${prepared.forecast.peak}`).toBeLessThanOrEqual(1);
    expect(peak / prepared.forecast.peak).toBeGreaterThan(0.7);
  });
});
