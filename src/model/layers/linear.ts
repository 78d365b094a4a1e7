import { lora } from "../adapters/lora.ts";

// Linear layers of a block go through the adapter's own arithmetic. Plain LoRA's serves layers that have no adapter too.
export const linear = lora.forward;
export const linearBackward = lora.backward;
