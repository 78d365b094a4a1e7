import { describe, it } from "vitest";
import { useGpu } from "../../kernels/harness.ts";
import { TINY_QWEN35 } from "../fixtures.ts";
import { SHORT, staysWithin } from "./grpo-memory.ts";

/** States are forecast for the longest sequences: where all lengths occur, large ones would be most of the forecast. */
const SMALL_STATES = {
  ...TINY_QWEN35,
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 8,
  linear_value_head_dim: 8,
};

describe("the memory of a GRPO run", () => {
  const gpu = useGpu();

  // the suite has a reference that is an adapter, and micro-batches on policy
  it.each<[string, Record<string, unknown>]>([
    ["with a reference", { beta: 0.04 }],
    ["off policy", { num_iterations: 2, per_device_train_batch_size: 8, gradient_accumulation_steps: 4 }],
  ])("stays within the forecast: %s", async (_, options) => {
    await staysWithin(gpu(), { max_steps: 3, ...options });
  });
});

// The delta net's kernels for these lengths take most of a minute to compile; the suite forecasts SFT of Qwen3.5.
describe("the memory of a GRPO run of Qwen3.5", () => {
  const gpu = useGpu();

  it.each<[string, Record<string, unknown>, { eos?: number[] }]>([
    ["completions of one length", {}, {}],
    [
      "micro-batches of unlike lengths",
      { per_device_train_batch_size: 8, gradient_accumulation_steps: 4, max_completion_length: 72 },
      SHORT,
    ],
  ])("stays within the forecast: %s", async (_, options, ends) => {
    await staysWithin(gpu(), { max_steps: 3, ...options }, { ...ends, spec: SMALL_STATES });
  });
});
