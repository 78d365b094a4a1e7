import type { Job, Preset } from "../../src/client/types.ts";
import { type Draft, GSM8K } from "../jobs.ts";

/** Number of held-out problems of the mission: a point of accuracy is more than one problem. */
const PROBLEMS = 100;

/** A mission: a model learns GSM8K, by SFT for the form of the answers, then by a published recipe's rewards. */
export interface Mission {
  /** of its published recipe, as a preset */
  preset: string;
  /** as people call the model */
  model: string;
  /** bytes of its files, before anybody has looked */
  bytes: number;
}

export const MISSIONS: readonly Mission[] = [
  { preset: "published-gsm8k-grpo-0.5b", model: "Qwen2.5-0.5B", bytes: 1e9 },
  { preset: "published-qwen3.5-gsm8k-grpo", model: "Qwen3.5-0.8B", bytes: 1.7e9 },
];

/** The job of a mission. Null without its presets. */
export function missionJob(presets: readonly Preset[], { preset, model }: Mission = MISSIONS[0]): Job | null {
  const sft = presets.find(({ id }) => id === "gsm8k-sft");
  const grpo = presets.find(({ id }) => id === preset);
  if (!sft || !grpo?.job) return null;
  const { chat_template_kwargs } = grpo.recipe; // the form is taught as the model is asked later
  return {
    name: `${model} on GSM8K`,
    model: grpo.job.model,
    phases: [
      {
        method: "sft",
        data: GSM8K,
        recipe: { ...sft.recipe, ...(chat_template_kwargs ? { chat_template_kwargs } : {}) },
      },
      { method: "grpo", data: GSM8K, recipe: grpo.recipe },
    ],
    evaluate: { data: { ...GSM8K, split: "test" }, problems: PROBLEMS },
  };
}

/** The choices of a mission, to be changed before it starts. */
export function missionDraft(presets: readonly Preset[], mission: Mission = MISSIONS[0]): Draft | null {
  const job = missionJob(presets, mission);
  if (!job) return null;
  const [sft, grpo] = job.phases;
  return {
    name: job.name,
    model: job.model,
    data: GSM8K,
    method: "both",
    recipes: { sft: sft.recipe, grpo: grpo.recipe, dpo: {} },
    forms: {
      sft: { preset: "gsm8k-sft", values: sft.recipe },
      grpo: { preset: mission.preset, values: grpo.recipe },
    },
    evaluate: job.evaluate,
    touched: true,
  };
}

/** The choices of a published recipe; null: it has no model and rows of its own. */
export function publishedDraft({ id, name, method, recipe, job }: Preset): Draft | null {
  if (job?.data.kind !== "hub") return null;
  return {
    name: "",
    model: job.model,
    data: job.data,
    method,
    recipes: { sft: {}, grpo: {}, dpo: {}, [method]: recipe },
    forms: { [method]: { preset: id, values: recipe } },
    evaluate: /gsm8k/.test(name) ? { data: { ...GSM8K, split: "test" }, problems: PROBLEMS } : null,
    touched: true,
  };
}
