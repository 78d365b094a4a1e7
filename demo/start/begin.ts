import type { Job, JobPlan } from "../../src/client/types.ts";
import type { App } from "../app.ts";
import { foreseePaces, storedPaces } from "../watch/time-left.ts";

/** Stores a job and trains it on the run's page. @param plan its forecast, if one was made */
export async function begin(app: App, job: Job, plan: JobPlan | null = null): Promise<void> {
  const run = await app.open(await app.trainer.runs.create(job));
  if (plan) foreseePaces(run, plan, storedPaces());
  void app.train(run);
  location.hash = `#/runs/${encodeURIComponent(run.id)}`;
}
