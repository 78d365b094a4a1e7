import { expect } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import { contents, learnt, recipeOf, train } from "./fixtures.ts";

export const RANDOM = { lora_dropout: 0.1, neftune_noise_alpha: 5, warmup_steps: 2, lr_scheduler_type: "cosine" };

/** Six steps, and three, a kill during the fourth, and three more, have the same logs and files. */
export async function resumesExactly(gpu: Gpu, options: Record<string, unknown>): Promise<void> {
  const recipe = recipeOf({ ...RANDOM, save_strategy: "steps", save_steps: 3, max_steps: 6, ...options });
  const straight = await train(gpu, { recipe });
  const output = memoryFolder("out");
  const first = await train(gpu, {
    recipe,
    output,
    onEvent: (event) => event.type === "step" && event.step === 4,
  });
  expect(await checkpointNames(output)).toEqual(["checkpoint-3"]);
  const second = await train(gpu, { recipe, output, resume: true });
  expect(second.events[0]).toEqual({ type: "start", max_steps: 6, global_step: 3 });
  const before = first.logs.filter(({ step }) => step <= 3);
  expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
  const file = recipe.use_peft ? "adapter_model.safetensors" : "model.safetensors";
  const [got, want] = [await contents(output), await contents(straight.output)];
  expect(got[file]).toBe(want[file]);
  expect(got[`checkpoint-6/${file}`]).toBe(want[`checkpoint-6/${file}`]);
  expect(got["checkpoint-6/optimizer.safetensors"]).toBe(want["checkpoint-6/optimizer.safetensors"]);
}
