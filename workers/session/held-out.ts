import type { DataSource, Job } from "../../src/client/types.ts";
import type { NumberedRow } from "../../src/data/rows.ts";

/**
 * The training rows. If the held-out problems come from the training file, its first rows are reserved for them.
 */
export async function* withoutHeldOut(
  rows: AsyncIterable<NumberedRow>,
  job: Job,
  phase: number,
): AsyncGenerator<NumberedRow> {
  let skip = isHeldOutOf(job, phase) ? job.evaluate!.problems : 0;
  for await (const row of rows) {
    if (skip > 0) skip--;
    else yield row;
  }
}

/** Whether a phase trains on the file that the held-out problems come from. */
function isHeldOutOf(job: Job, phase: number): boolean {
  return job.evaluate !== null && sameFile(job.evaluate.data, job.phases[phase].data);
}

function sameFile(a: DataSource, b: DataSource): boolean {
  if (a.kind === "stored" && b.kind === "stored") return a.id === b.id;
  if (a.kind === "file" && b.kind === "file") {
    return a.file.name === b.file.name && a.file.size === b.file.size && a.file.lastModified === b.file.lastModified;
  }
  if (a.kind !== "hub" || b.kind !== "hub") return false; // the embedded problems have a test split
  return a.id === b.id && a.config === b.config && a.split !== undefined && a.split === b.split;
}
