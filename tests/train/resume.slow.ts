import { describe, it } from "vitest";
import { useGpu } from "../kernels/harness.ts";
import { resumesExactly } from "./resume.ts";

// Only LoRA of a high rank has factors large enough for moments in 8 bits; the suite has them with full training.
describe("an exact resume", () => {
  const gpu = useGpu();

  it("LoRA with adamw_8bit", () => resumesExactly(gpu(), { optim: "adamw_8bit", lora_r: 64, weight_decay: 0.01 }));
});
