import { describe, it } from "vitest";
import { useGpu } from "../../kernels/harness.ts";
import { SHORT, staysWithin } from "./grpo-memory.ts";

describe("the memory of a GRPO run", () => {
  const gpu = useGpu();

  it.each<[string, Record<string, unknown>, { eos: number[] }?]>([
    ["LoRA", {}],
    ["LoRA, bf16", { bf16: true, beta: 0.04 }],
    ["with a reference that is the adapter it goes on from", { beta: 0.04, lora_r: 16, adapter_name_or_path: "first" }],
    ["all weights", { use_peft: false }],
    ["evaluation on longer prompts", { eval_strategy: "steps", eval_steps: 1, per_device_eval_batch_size: 32 }],
    ["micro-batches of unlike lengths", { per_device_train_batch_size: 8, gradient_accumulation_steps: 4 }, SHORT],
  ])("stays within the forecast: %s", async (_, options, ends) => {
    await staysWithin(gpu(), options, ends);
  });
});
