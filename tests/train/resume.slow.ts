import { describe, it } from "vitest";
import { useGpu } from "../kernels/harness.ts";
import { resumesExactly } from "./resume.ts";

describe("an exact resume", () => {
  const gpu = useGpu();

  it.each([
    // only LoRA of a high rank has factors large enough for moments in 8 bits; the suite has them with full training
    ["LoRA with adamw_8bit", { optim: "adamw_8bit", lora_r: 64, weight_decay: 0.01 }],
    ["full training with lion", { use_peft: false, learning_rate: 1e-4, optim: "lion_32bit", weight_decay: 0.1 }],
    ["full training with adafactor", { use_peft: false, learning_rate: 1e-3, optim: "adafactor", weight_decay: 0.1 }],
  ])("%s", (_, options) => resumesExactly(gpu(), options));
});
