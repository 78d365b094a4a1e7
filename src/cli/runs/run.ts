import { AbortError, QwenchError, RecipeError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { Platform } from "../../platform/index.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import { type Report, renderReport } from "../../report/training.ts";
import type { GrpoEvent } from "../../session/grpo.ts";
import { checkForecast, type PreparedBase, type SftEvent } from "../../session/open.ts";
import { checkpointNames, findCheckpoint } from "../../train/checkpoint.ts";
import { EXIT_INTERRUPTED } from "../terminal/interrupt.ts";
import { Progress } from "../terminal/progress.ts";
import { statusLine } from "../terminal/status-line.ts";
import { formatBytes, formatNumber, formatSeconds, renderTable } from "../terminal/table.ts";
import { collectGarbage } from "./collect.ts";
import { availableMemory, openGpu } from "./open-gpu.ts";
import { forecastTable } from "./prepare.ts";
import { metricsFile, openRunLog, type RunLog } from "./run-log.ts";
import { tuned } from "./tuning.ts";

/** What a run of either method needs of its recipe. */
export type RunRecipe = Pick<
  SftRecipe,
  | "model_name_or_path"
  | "dataset_name"
  | "output_dir"
  | "overwrite_output_dir"
  | "resume_from_checkpoint"
  | "max_memory"
  | "profile"
>;

/** Said when a run is interrupted. */
export const STOPPING = "\nStopping at the next step boundary, with a checkpoint. Ctrl-C again ends at once.";

/** A run before its model is read: its folder was looked at, its adapter is open. */
export interface StartedRun {
  output: Folder;
  /** the checkpoint to go on from, and its step */
  resume: Folder | null;
  step: number | null;
  gpu: Gpu;
  platform: Platform;
  signal: AbortSignal;
  status: (line: string | null) => void;
}

/**
 * Looks at the run's folder, then opens the adapter.
 *
 * @param verify throws where a checkpoint lacks what its method needs more
 */
export async function startRun(
  recipe: RunRecipe,
  signal: AbortSignal,
  verify?: (checkpoint: Folder) => Promise<unknown>,
): Promise<StartedRun> {
  const output = nodeFolder(recipe.output_dir);
  const { resume, step } = await resumeFrom(recipe, output, verify);
  const { gpu, platform } = await openGpu({ profile: recipe.profile, max_memory: recipe.max_memory });
  console.error(`Adapter: ${platform.describe}`);
  return { output, resume, step, gpu, platform, signal, status: statusLine() };
}

/** Says what will run and what memory it takes, refuses what does not fit, and picks kernel variants. */
export async function announce(
  recipe: RunRecipe,
  { gpu, platform, signal, status }: StartedRun,
  prepared: PreparedBase,
  description: string,
): Promise<void> {
  status(null);
  for (const note of prepared.notes) console.error(`note: ${note}`);
  console.error(description);
  const available = availableMemory(platform, recipe.max_memory);
  console.error(`\n${forecastTable(prepared, available)}`);
  checkForecast(prepared.forecast, available);
  await collectGarbage();
  await tuned(gpu, prepared, signal, status); // before the weights: what it takes is given back by then
}

/** What one method has beside the other. */
export interface RunKind<E> {
  /** such as `Supervised fine-tuning` */
  method: string;
  /** the recipe as YAML */
  yaml: string;
  /** gets what shows the run as it goes, when there is something to show */
  follow?(progress: Progress): void;
  /** opens what the method keeps in the run's folder; `step` is that of the checkpoint gone on from */
  begin?(output: Folder, step: number | null): Promise<void>;
  /** an event that the other method has not */
  take?(event: E, progress: Progress): Promise<void>;
  /** what the report holds more */
  report?(): Promise<Partial<Report>>;
}

/**
 * Follows a run to its end: progress, logs, report. An earlier run in the folder is replaced only when this one has
 * got somewhere: until then whatever is wrong with it has shown itself.
 *
 * @returns the exit code
 */
export async function follow<E extends SftEvent | GrpoEvent>(
  events: AsyncIterable<E>,
  recipe: RunRecipe,
  run: StartedRun,
  prepared: PreparedBase,
  kind: RunKind<E>,
): Promise<number> {
  const { output, resume, step, gpu } = run;
  let progress: Progress | null = null;
  let log: RunLog | null = null;
  let summary: Record<string, unknown> = {};
  let failure: unknown = null;
  const begin = async () => {
    if (!resume) for (const name of await checkpointNames(output)) await output.removeFolder(name);
    await kind.begin?.(output, step);
    return openRunLog(output, { resumeStep: step, overwrite: recipe.overwrite_output_dir });
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
      switch (event.type) {
        case "step":
          progress!.step(event);
          break;
        case "log":
        case "eval":
          progress!.log(event.record);
          await log.append(event.record);
          progress!.rest();
          break;
        case "checkpoint":
          progress!.message(`Saved ${output.path}/${event.name}`);
          progress!.rest();
          break;
        case "best":
          progress!.message(`Took back the best model, ${event.name}`);
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
    if (log) await writeReport(recipe, run, prepared, kind, log, summary, ended);
  } catch (error) {
    failure ??= error; // what ended the run matters more
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
  if (prepared.tokenizer) {
    const folder = /^[\w./-]+$/.test(recipe.output_dir) ? recipe.output_dir : JSON.stringify(recipe.output_dir);
    const made = `${prepared.lora ? "--adapter" : "--model"} ${folder}`;
    console.error(`Talk to it: qwench chat ${made}`);
    console.error(`Answer rows with it: qwench generate ${made} --file rows.jsonl`);
  }
  return 0;
}

/** Files that an earlier run, or a model, may have left in a folder. */
const KEPT = [metricsFile, "adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/** What `--resume_from_checkpoint` means, and the step it goes on from. Changes nothing. */
async function resumeFrom(
  recipe: RunRecipe,
  output: Folder,
  verify?: (checkpoint: Folder) => Promise<unknown>,
): Promise<{ resume: Folder | null; step: number | null }> {
  const wanted = recipe.resume_from_checkpoint;
  if (recipe.model_name_or_path && output.path === nodeFolder(recipe.model_name_or_path).path) {
    throw new RecipeError(
      `output_dir and model_name_or_path are one folder, ${output.path}: the run would write into it`,
    );
  }
  if (wanted === null || wanted === false) {
    const files = await output.list();
    const first = [...(await checkpointNames(output)), ...KEPT.filter((name) => files.includes(name))][0];
    if (first && !recipe.overwrite_output_dir) {
      throw new QwenchError(
        `Cannot start a run in ${output.path}: it holds ${first} of another one. Go on with --resume_from_checkpoint true, replace it with --overwrite_output_dir true, or name another --output_dir`,
      );
    }
    return { resume: null, step: null };
  }
  const { state, folder } = await findCheckpoint(output, wanted === true ? true : nodeFolder(wanted), verify);
  return { resume: folder, step: state.global_step };
}

async function writeReport<E>(
  recipe: RunRecipe,
  { output, platform }: StartedRun,
  { forecast }: PreparedBase,
  kind: RunKind<E>,
  log: RunLog,
  summary: Record<string, unknown>,
  ended: string,
): Promise<void> {
  const html = renderReport({
    title: `${recipe.model_name_or_path} on ${recipe.dataset_name}`,
    subtitle: `${kind.method}, ${ended} ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`,
    recipe: kind.yaml,
    logs: log.records,
    environment: {
      adapter: platform.describe,
      runtime: process.versions.deno ? `deno ${process.versions.deno}` : `node ${process.version}`,
    },
    plan: Object.fromEntries(Object.entries(forecast.byKind).map(([key, bytes]) => [key, formatBytes(bytes)])),
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
        milliseconds.toFixed(1),
        `${((100 * milliseconds) / total).toFixed(1)} %`,
      ]),
    ),
  );
}
