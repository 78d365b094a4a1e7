import { expect } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import { contents, learnt, recipeOf, train } from "./fixtures.ts";

export const RANDOM = { lora_dropout: 0.1, neftune_noise_alpha: 5, warmup_steps: 2, lr_scheduler_type: "cosine" };

/** Four steps, and two, a kill during the third, and two more, have the same logs and files. */
export async function resumesExactly(gpu: Gpu, options: Record<string, unknown>): Promise<void> {
  const recipe = recipeOf({ ...RANDOM, save_strategy: "steps", save_steps: 2, max_steps: 4, ...options });
  const straight = await train(gpu, { recipe });
  const output = memoryFolder("out");
  const first = await train(gpu, {
    recipe,
    output,
    onEvent: (event) => event.type === "step" && event.step === 3,
  });
  expect(await checkpointNames(output)).toEqual(["checkpoint-2"]);
  const second = await train(gpu, { recipe, output, resume: true });
  expect(second.events[0]).toEqual({ type: "start", max_steps: 4, global_step: 2 });
  const before = first.logs.filter(({ step }) => step <= 2);
  expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
  const file = recipe.use_peft ? "adapter_model.safetensors" : "model.safetensors";
  const [got, want] = [await contents(output), await contents(straight.output)];
  expect(got[file]).toBe(want[file]);
  expect(got[`checkpoint-4/${file}`]).toBe(want[`checkpoint-4/${file}`]);
  expect(got["checkpoint-4/optimizer.safetensors"]).toBe(want["checkpoint-4/optimizer.safetensors"]);
}
