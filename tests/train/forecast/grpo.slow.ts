import { describe, it } from "vitest";
import { useGpu } from "../../kernels/harness.ts";
import { SHORT, staysWithin } from "./grpo-memory.ts";

// The delta net's kernels for these lengths take most of a minute to compile; the suite forecasts SFT of Qwen3.5.
describe("the memory of a GRPO run of Qwen3.5", () => {
  const gpu = useGpu();

  it.each<[string, Record<string, unknown>, { eos?: number[]; least?: number }]>([
    ["completions of one length", {}, {}],
    [
      "micro-batches of unlike lengths",
      { per_device_train_batch_size: 8, gradient_accumulation_steps: 4, max_completion_length: 72 },
      { ...SHORT, least: 0.5 }, // a delta net's states are forecast for the longest sequences
    ],
  ])("stays within the forecast: %s", async (_, options, ends) => {
    await staysWithin(gpu(), options, { ...ends, qwen35: true });
  });
});
