/** A reward function's name as words, without the common ending: `soft_format_reward_func` becomes `soft format`. */
export function rewardName(name: string): string {
  return name.replace(/_(reward|reward_func|func)$/, "").replaceAll("_", " ") || name;
}

export const METHOD_NAMES = { sft: "SFT", grpo: "GRPO", dpo: "DPO" } as const;

/** What an evaluation of a run was of. */
interface Staged {
  /** base, or the method of the phase */
  stage: string;
  phase: number;
  /** of a checkpoint; absent: the end of the phase, or the start */
  step?: number;
}

/** Label of a stage: `after GRPO`, `at step 20 of GRPO`, or the untrained model's label. */
export function stageName({ stage, step }: Pick<Staged, "stage" | "step">): string {
  if (stage === "base") return "before";
  return step === undefined ? `after ${stage.toUpperCase()}` : `at step ${step} of ${stage.toUpperCase()}`;
}

/** Evaluations in order: the base, then after each phase. */
export function inOrder<T extends Staged>(evaluations: readonly T[]): T[] {
  const place = ({ stage, phase, step = Number.POSITIVE_INFINITY }: Staged) =>
    stage === "base" ? -1 : phase + 1 - 1 / (step + 1);
  return [...evaluations].sort((a, b) => place(a) - place(b));
}
