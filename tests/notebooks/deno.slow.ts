import { expect, test } from "vitest";
import { drawn, runDenoNotebook } from "./deno.ts";

test("the Deno notebook trains by examples, then by rewards, draws the curves and saves the adapter", async () => {
  const { outputs, adapter } = await runDenoNotebook();
  expect(drawn(outputs.sft)).toEqual([expect.stringMatching(/^<svg xmlns.*>Loss<.*train \d/s)]);
  expect(drawn(outputs.grpo)).toEqual([expect.stringMatching(/^<svg xmlns.*>Reward<.*all \d.*correctness \d/s)]);
  expect(outputs.completion).toMatchObject([
    { output_type: "stream", text: expect.stringContaining("<|im_start|>user") },
  ]);
  expect(adapter.config.r).toBe(16);
});
