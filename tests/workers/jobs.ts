import type { DataSource, Job, ModelSource, Phase } from "../../src/client/types.ts";

export const EMBEDDED: ModelSource = { kind: "embedded" };
export const PROBLEMS: DataSource = { kind: "embedded", rows: "sft" };

/** A job of a phase of SFT and one of GRPO, with changes. */
export function jobOf(changes: Partial<Job> = {}, ...phases: Partial<Phase>[]): Job {
  const plain: Phase[] = [
    { method: "sft", data: PROBLEMS, recipe: { max_steps: 3, lora_r: 4 } },
    { method: "grpo", data: { kind: "embedded", rows: "prompts" }, recipe: { max_steps: 2 } },
  ];
  return {
    name: "Sums",
    model: EMBEDDED,
    phases: plain.map((phase, i) => ({ ...phase, ...phases[i] }) as Phase),
    evaluate: null,
    ...changes,
  };
}
