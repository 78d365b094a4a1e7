/** The linear layers of Qwen2's and Qwen3's blocks, under PEFT's target_modules names, in order. */
export const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

/** Whether a checkpoint's tensor is one of their matrices. */
export function isProjection(name: string): boolean {
  return PROJECTIONS.some((projection) => name.endsWith(`.${projection}.weight`));
}
