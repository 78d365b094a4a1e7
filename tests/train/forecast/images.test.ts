import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { nodeImages } from "../../../src/platform/node/image-files.ts";
import { imagesFrom } from "../../../src/session/images.ts";
import { loadTraining, prepareTraining, runTraining } from "../../../src/session/train.ts";
import { grey, seeingModel } from "../../images.ts";
import { useGpu } from "../../kernels/harness.ts";
import { recipeOf } from "../fixtures.ts";
import { grpoRecipe, letters } from "../grpo/fixtures.ts";

describe("the memory of a run with images", () => {
  const gpu = useGpu();
  const user = { role: "user", content: [{ type: "image" }, { type: "text", text: "what?" }] };
  const rows = [64, 48, 56, 40].map((side, i) => ({
    row: {
      messages: [user, { role: "assistant", content: "grey" }],
      images: [{ bytes: grey(64, side, 10 * i), path: null }],
    },
    number: i + 1,
    file: "rows.jsonl",
  }));
  const sft = (more: Record<string, unknown> = {}) =>
    recipeOf({ max_steps: 3, per_device_train_batch_size: 2, max_length: null, assistant_only_loss: false, ...more });

  it.each([
    ["a frozen tower, whose features are computed before a step", sft()],
    ["LoRA on the tower", sft({ finetune_vision_layers: true })],
    ["all weights", sft({ use_peft: false, dtype: "float32" })],
    ["activations that are kept", sft({ finetune_vision_layers: true, gradient_checkpointing: false })],
  ])("equals the forecast: %s", async (_, recipe) => {
    const sources = { gpu: gpu(), model: await seeingModel(), train: rows, images: imagesFrom(nodeImages()) };
    await check("sft", recipe, sources);
  });

  it("stays within the forecast: GRPO", async () => {
    const asked = rows.map(({ row, ...at }) => ({ ...at, row: { prompt: [user], images: row.images } }));
    const images = imagesFrom(nodeImages());
    const sources = { gpu: gpu(), model: await seeingModel(), train: asked, images, rewards: [letters] };
    await check("grpo", grpoRecipe({ max_steps: 2, beta: 0.1, max_completion_length: 12 }), sources, 0.7);
  });

  async function check<M extends "sft" | "grpo">(
    method: M,
    recipe: Parameters<typeof prepareTraining<M>>[1],
    sources: Parameters<typeof prepareTraining<M>>[2],
    least = 0.95,
  ): Promise<void> {
    await gpu().settle();
    const { pool } = gpu();
    pool.trim();
    const before = pool.ledger.allocated;
    pool.ledger.peak = before;
    const training = await prepareTraining(method, recipe, sources);
    const trainee = await loadTraining(training, sources, "seeing");
    const { forecast } = training.prepared;
    pool.budget = before + forecast.peak; // exclude memory of earlier tests
    for await (const _ of runTraining(training, trainee, { output: memoryFolder("out"), resume: null }));
    const share = (pool.ledger.peak - before) / forecast.peak;
    expect(share, `ledger ${pool.ledger.peak - before}, forecast ${forecast.peak}`).toBeLessThan(1.01);
    expect(share).toBeGreaterThan(least);
  }
});
