import type { Job } from "../../src/client/types.ts";
import type { App } from "../app.ts";

/** Stores a job and trains it on the run's page. */
export async function begin(app: App, job: Job): Promise<void> {
  const run = await app.open(await app.trainer.runs.create(job));
  void app.train(run);
  location.hash = `#/runs/${encodeURIComponent(run.id)}`;
}
