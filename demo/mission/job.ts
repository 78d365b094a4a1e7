import type { Job, Preset } from "../../src/client/types.ts";
import { type Draft, GSM8K } from "../jobs.ts";

/** Number of held-out problems of the mission: a point of accuracy is more than one problem. */
const PROBLEMS = 100;

/** Qwen2.5-0.5B on GSM8K: SFT for the form of the answers, then the published recipe's rewards. Null without its presets. */
export function missionJob(presets: readonly Preset[]): Job | null {
  const sft = presets.find(({ id }) => id === "gsm8k-sft");
  const grpo = presets.find(({ id }) => id === "published-gsm8k-grpo-0.5b");
  if (!sft || !grpo?.job) return null;
  return {
    name: "Qwen2.5-0.5B on GSM8K",
    model: grpo.job.model,
    phases: [
      { method: "sft", data: GSM8K, recipe: sft.recipe },
      { method: "grpo", data: GSM8K, recipe: grpo.recipe },
    ],
    evaluate: { data: { ...GSM8K, split: "test" }, problems: PROBLEMS },
  };
}

/** The choices of the mission, to be changed before it starts. */
export function missionDraft(presets: readonly Preset[]): Draft | null {
  const job = missionJob(presets);
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
      grpo: { preset: "published-gsm8k-grpo-0.5b", values: grpo.recipe },
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
