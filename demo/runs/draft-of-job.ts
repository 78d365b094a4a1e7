import type { DataSource, Job } from "../../src/client/types.ts";
import type { DataChoice, Draft, MethodChoice } from "../jobs.ts";

/** The choices that give a job again, to be changed. @param from the run whose adapter the job continues from */
export function draftOfJob(job: Job, from: { id: string; name: string } | null): Draft {
  const recipes: Draft["recipes"] = { sft: {}, grpo: {}, dpo: {} };
  for (const { method, recipe } of job.phases) recipes[method] = recipe;
  const forms = Object.fromEntries(
    job.phases.map(({ method, recipe }) => [method, { preset: "", values: { ...recipe } }]),
  );
  return {
    name: "",
    model: job.model,
    data: choiceOf(job.phases[0].data),
    method: methodOf(job),
    recipes,
    forms,
    evaluate: job.evaluate,
    touched: true,
    continues: from,
  };
}

function choiceOf(data: DataSource): DataChoice {
  return data.kind === "embedded" ? { kind: "embedded" } : data;
}

function methodOf({ phases }: Job): MethodChoice {
  return phases.length > 1 ? "both" : phases[0].method;
}
