import { lora } from "../adapters/lora.ts";

// Linear layers of a block use the adapter's kernels. Plain LoRA's kernels also serve layers without an adapter.
export const linear = lora.forward;
export const linearBackward = lora.backward;
