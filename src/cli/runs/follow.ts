import { AbortError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { Method } from "../../recipe/recipe.ts";
import { readTrackers } from "../../recipe/trackers.ts";
import { type Report, renderReport } from "../../report/training.ts";
import type { PreparedBase } from "../../session/open.ts";
import { beginRunFile, endRunFile, type RunFacts } from "../../session/run-file.ts";
import { openRunLog, type RunLog } from "../../session/run-log.ts";
import type { TrainingEvent } from "../../session/train.ts";
import { formatBytes } from "../../text/bytes.ts";
import { formatFixed, formatNumber, formatShare } from "../../text/numbers.ts";
import { renderTable } from "../../text/tables.ts";
import { formatSeconds } from "../../text/times.ts";
import { checkpointNames } from "../../train/checkpoint.ts";
import type { MemoryForecast } from "../../train/forecast/memory.ts";
import { EXIT_INTERRUPTED } from "../terminal/interrupt.ts";
import { Progress } from "../terminal/progress.ts";
import type { RunRecipe, StartedRun } from "./run.ts";
import { openTrackers, type Trackers } from "./trackers.ts";

/** A method's additions to what every method shows and stores. */
export interface RunKind {
  method: Method;
  /** such as `Supervised fine-tuning` */
  title: string;
  /** progress within a long step */
  onProgress?(what: string, done: number, total: number): void;
  /** receives the progress display as soon as it exists */
  follow?(progress: Progress): void;
  /** opens the method's files in the run's folder; `step` is the step of the resumed checkpoint */
  begin?(output: Folder, step: number | null): Promise<void>;
  /** receives every event, after the general handling */
  take?(event: TrainingEvent, progress: Progress): Promise<void>;
  /** additions to the report */
  report?(): Promise<Partial<Report>>;
}

/**
 * Follows a run to its end: progress, logs and report. Replaces an earlier run in the folder only after this run has made
 * progress, so that a run that fails early replaces nothing.
 *
 * @returns the exit code
 */
export async function follow(
  events: AsyncIterable<TrainingEvent>,
  recipe: RunRecipe,
  run: StartedRun,
  prepared: PreparedBase,
  kind: RunKind & { yaml: string },
): Promise<number> {
  const { output, resume, step, gpu } = run;
  let progress: Progress | null = null;
  let log: RunLog | null = null;
  let trackers: Trackers | null = null;
  let summary: Record<string, unknown> = {};
  let failure: unknown = null;
  const began = Date.now();
  const begin = async () => {
    if (!resume) for (const name of await checkpointNames(output)) await output.removeFolder(name);
    await kind.begin?.(output, step);
    await beginRunFile(output, factsOf(run, recipe, prepared, { kind, began }), step !== null);
    return openRunLog(output, { resumeStep: step, overwrite: recipe.overwrite_output_dir, began });
  };
  try {
    for await (const event of events) {
      if (event.type === "start") {
        const { max_steps: total, global_step: start } = event;
        progress = new Progress({ stream: process.stderr, total, start, noColor: !!process.env.NO_COLOR });
        kind.follow?.(progress);
        if (start > 0) progress.message(`Resumed after step ${start}`);
        continue;
      }
      log ??= await begin();
      trackers ??= await openTrackers(output, tracked(recipe, kind.yaml, step));
      switch (event.type) {
        case "step":
          progress!.step(event);
          break;
        case "log":
        case "eval":
          progress!.log(event.record);
          await log.append(event.record);
          await trackers.append(event.record);
          progress!.rest();
          break;
        case "checkpoint":
          progress!.message(`Saved ${output.path}/${event.name}`);
          progress!.rest();
          break;
        case "best":
          progress!.message(`Restored the best checkpoint, ${event.name}`);
          break;
        case "note":
          progress!.message(event.text);
          break;
        case "end":
          summary = { ...event.record };
          break;
      }
      await kind.take?.(event, progress!);
    }
  } catch (error) {
    failure = error;
  }
  progress?.done();
  summary = {
    ...summary,
    forecast: formatBytes(prepared.forecast.peak),
    "ledger peak": formatBytes(gpu.pool.ledger.peak),
    "peak RSS": formatBytes(process.resourceUsage().maxRSS * 1024),
  };
  const ended = failure === null ? "finished" : failure instanceof AbortError ? "interrupted" : "failed";
  try {
    if (log) await endRunFile(output, failure);
    await trackers?.end(failure === null ? 0 : 1);
    if (log) await writeReport(run, recipe, { kind, log, summary, ended, forecast: prepared.forecast });
  } catch (error) {
    failure ??= error; // the error that ended the run matters more
  }
  if (failure instanceof AbortError) {
    console.error(failure.message);
    return EXIT_INTERRUPTED;
  }
  if (failure !== null) throw failure;
  if (gpu.profiler) await printProfile(gpu.profiler.table());
  const shown = Object.entries(summary).map(([key, value]) => {
    const seconds = typeof value === "number" && key.endsWith("runtime");
    return `${key} ${seconds ? formatSeconds(value) : formatNumber(value)}`;
  });
  console.error(`Done: ${shown.join(", ")}`);
  console.error(`${prepared.lora ? "Adapter" : "Model"} and report: ${output.path}`);
  for (const hint of trackers?.hints ?? []) console.error(hint);
  if (prepared.tokenizer) {
    const folder = /^[\w./-]+$/.test(recipe.output_dir) ? recipe.output_dir : JSON.stringify(recipe.output_dir);
    const made = `${prepared.lora ? "--adapter" : "--model"} ${folder}`;
    console.error(`Talk to it: qwench chat ${made}`);
    console.error(`Answer rows with it: qwench generate ${made} --file rows.jsonl`);
  }
  return 0;
}

function factsOf(
  { platform }: StartedRun,
  recipe: RunRecipe,
  prepared: PreparedBase,
  { kind, began }: { kind: RunKind & { yaml: string }; began: number },
): RunFacts {
  return {
    version: 1,
    method: kind.method,
    model: recipe.model_name_or_path ?? "",
    data: recipe.dataset_name ?? "a mixture",
    recipe: kind.yaml,
    max_steps: prepared.batches.max_steps,
    device: platform.describe,
    began: new Date(began).toISOString(),
    ended: null,
    status: "running",
    problem: null,
  };
}

function tracked(recipe: RunRecipe, yaml: string, step: number | null): Parameters<typeof openTrackers>[1] {
  const { report_to, run_name, project } = recipe;
  const { trackers } = readTrackers(report_to);
  return { report_to: trackers, run_name, project, yaml, config: { ...recipe }, step: step ?? 0 };
}

interface Reported {
  kind: RunKind & { yaml: string };
  log: RunLog;
  summary: Record<string, unknown>;
  /** finished, interrupted, failed */
  ended: string;
  forecast: MemoryForecast;
}

async function writeReport(
  { output, platform }: StartedRun,
  recipe: RunRecipe,
  { kind, log, summary, ended, forecast }: Reported,
): Promise<void> {
  const html = renderReport({
    title: `${recipe.model_name_or_path} on ${recipe.dataset_name}`,
    subtitle: `${kind.title}, ${ended} ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`,
    recipe: kind.yaml,
    logs: log.records,
    environment: {
      adapter: platform.describe,
      runtime: process.versions.deno ? `deno ${process.versions.deno}` : `node ${process.version}`,
    },
    memory: Object.fromEntries(Object.entries(forecast.byKind).map(([key, bytes]) => [key, formatBytes(bytes)])),
    summary,
    ...(await kind.report?.()),
  });
  await output.write("report.html", html);
}

async function printProfile(table: ReturnType<NonNullable<Gpu["profiler"]>["table"]>): Promise<void> {
  const rows = await table;
  const total = rows.reduce((sum, row) => sum + row.milliseconds, 0);
  console.log(
    renderTable(
      [
        { heading: "kernel" },
        { heading: "dispatches", align: "right" },
        { heading: "ms", align: "right" },
        { heading: "share", align: "right" },
      ],
      rows.map(({ kernel, count, milliseconds }) => [
        kernel,
        count,
        formatFixed(milliseconds),
        formatShare(milliseconds / total, 1),
      ]),
    ),
  );
}
