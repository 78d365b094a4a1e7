import { describe, expect, it } from "vitest";
import type { NumberedRow } from "../../../src/data/rows.ts";
import { embeddedPreferences } from "../../../src/data/sets/embedded.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { useGpu } from "../../kernels/harness.ts";
import { dpoRecipe, train } from "./fixtures.ts";

const gpu = useGpu();

// The suite runs the same in examples/dpo.ts, half as long.
describe("the embedded model", () => {
  it("learns to prefer worked answers to guesses, on problems that it never saw", async () => {
    const rows = (split: "train" | "test", count: number) =>
      embeddedPreferences(split, count).map((row, i): NumberedRow => ({ row: { ...row }, number: i + 1, file: split }));
    const { evals } = await train(gpu(), {
      recipe: dpoRecipe({
        per_device_train_batch_size: 16,
        max_steps: 8,
        learning_rate: 2e-3,
        lora_r: 16,
        eval_strategy: "steps",
        eval_steps: 4,
        per_device_eval_batch_size: 32,
      }),
      model: nodeFolder("assets/tiny"),
      rows: rows("train", 128),
      evalRows: rows("test", 32),
    });
    expect(evals.at(-1)!["eval_rewards/accuracies"]).toBeGreaterThan(0.9);
    // 0 before the first step, 0.24 after 4 steps and 0.41 after 8
    expect(evals.at(-1)!["eval_rewards/margins"]).toBeGreaterThan(evals[0]["eval_rewards/margins"] + 0.1);
    expect(evals.at(-1)!.eval_loss).toBeLessThan(0.6);
  });
});
