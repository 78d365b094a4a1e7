import { AbortError, QwenchError, RecipeError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { nodeFolder } from "../platform/node-fs.ts";
import { formatRecipeYaml, type SftRecipe } from "../recipe.ts";
import { checkForecast, loadSft, sft } from "../session.ts";
import { checkpointNames, findCheckpoint } from "../train/checkpoint.ts";
import type { ParsedArgs } from "./args.ts";
import { collectGarbage } from "./collect.ts";
import { availableMemory, openGpu } from "./open-gpu.ts";
import { describeRun, forecastTable, prepare, readRecipe } from "./prepare.ts";
import { Progress } from "./progress.ts";
import { renderReport } from "./report.ts";
import { metricsFile, openRunLog, type RunLog } from "./run-log.ts";
import { statusLine } from "./status-line.ts";
import { formatBytes, formatSeconds, renderTable } from "./table.ts";
import { tuned } from "./tuning.ts";

export const EXIT_INTERRUPTED = 130;

/** `qwench sft`: trains as a recipe says. @returns the exit code */
export async function runSft(args: ParsedArgs): Promise<number> {
  const abort = new AbortController();
  const onInterrupt = () => {
    if (abort.signal.aborted) process.exit(EXIT_INTERRUPTED);
    abort.abort(new AbortError("Interrupted"));
    console.error("\nStopping at the next step boundary, with a checkpoint. Ctrl-C again ends at once.");
  };
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onInterrupt);
  try {
    return await train(args, abort.signal);
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
  }
}

async function train(args: ParsedArgs, signal: AbortSignal): Promise<number> {
  const { recipe, notes } = await readRecipe(args);
  for (const note of notes) console.error(`note: ${note}`);
  const output = nodeFolder(recipe.output_dir);
  const { resume, step } = await resumeFrom(recipe, output);

  const { gpu, platform } = await openGpu({ profile: recipe.profile });
  console.error(`Adapter: ${platform.describe}`);
  const status = statusLine();
  const { prepared, sources } = await prepare(recipe, gpu, signal, status);
  status(null);
  for (const note of prepared.notes) console.error(`note: ${note}`);
  console.error(describeRun(prepared));
  const available = availableMemory(platform, recipe.max_memory);
  console.error(`\n${forecastTable(prepared, available)}`);
  checkForecast(prepared.forecast, available);
  await collectGarbage();
  await tuned(gpu, prepared, signal, status); // before the weights: what it takes is given back by then
  const trainee = await loadSft(recipe, prepared, sources, recipe.model_name_or_path!);
  status(null);

  let progress: Progress | null = null;
  let log: RunLog | null = null;
  let summary: Record<string, unknown> = {};
  let ended = "finished";
  try {
    for await (const event of sft(trainee, prepared.data, recipe, { signal, output, resume })) {
      switch (event.type) {
        case "start":
          // Only now: whatever was wrong with the run has shown itself, and an earlier one still lies untouched.
          if (!resume) for (const name of await checkpointNames(output)) await output.removeFolder(name);
          log = await openRunLog(output, { resumeStep: step, overwrite: recipe.overwrite_output_dir });
          progress = new Progress({
            stream: process.stderr,
            total: event.max_steps,
            start: event.global_step,
            noColor: !!process.env.NO_COLOR,
          });
          if (event.global_step > 0) progress.message(`Resumed after step ${event.global_step}`);
          break;
        case "step":
          progress!.step({ step: event.step, tokens: event.tokens, loss: event.loss });
          break;
        case "log":
        case "eval":
          progress!.log(event.record);
          await log!.append(event.record);
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
      }
    }
  } catch (error) {
    ended = error instanceof AbortError ? "interrupted" : "failed";
    progress?.done();
    if (!(error instanceof AbortError)) throw error;
    console.error(error.message);
    return EXIT_INTERRUPTED;
  } finally {
    progress?.done();
    const { peak } = gpu.pool.ledger;
    summary = {
      ...summary,
      forecast: formatBytes(prepared.forecast.peak),
      "ledger peak": formatBytes(peak),
      "peak RSS": formatBytes(process.resourceUsage().maxRSS * 1024),
    };
    if (log) await writeReport(output, recipe, log, platform.describe, prepared.forecast.byKind, summary, ended);
  }
  if (gpu.profiler) await printProfile(gpu.profiler.table());
  const shown = Object.entries(summary).map(
    ([key, value]) => `${key} ${typeof value === "number" && key.endsWith("runtime") ? formatSeconds(value) : value}`,
  );
  console.error(`Done: ${shown.join(", ")}`);
  console.error(`${trainee.lora ? "Adapter" : "Model"} and report: ${output.path}`);
  return 0;
}

/** Files that an earlier run, or a model, may have left in a folder. */
const KEPT = [metricsFile, "adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/** What `--resume_from_checkpoint` means, and the step it goes on from. Changes nothing. */
async function resumeFrom(
  recipe: SftRecipe,
  output: Folder,
): Promise<{ resume: true | Folder | null; step: number | null }> {
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
  const resume = wanted === true ? (true as const) : nodeFolder(wanted);
  const { state, folder } = await findCheckpoint(output, resume);
  return { resume: folder, step: state.global_step };
}

async function writeReport(
  output: Folder,
  recipe: SftRecipe,
  log: RunLog,
  adapter: string,
  plan: Record<string, number>,
  summary: Record<string, unknown>,
  ended: string,
): Promise<void> {
  const memory = Object.fromEntries(Object.entries(plan).map(([kind, bytes]) => [kind, formatBytes(bytes)]));
  const html = renderReport({
    title: `${recipe.model_name_or_path} on ${recipe.dataset_name}`,
    subtitle: `Supervised fine-tuning, ${ended} ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`,
    recipe: formatRecipeYaml(recipe, "sft"),
    logs: log.records,
    environment: {
      adapter,
      runtime: process.versions.deno ? `deno ${process.versions.deno}` : `node ${process.version}`,
    },
    plan: memory,
    summary,
  });
  await output.write("report.html", html);
}

async function printProfile(
  table: ReturnType<NonNullable<Awaited<ReturnType<typeof openGpu>>["gpu"]["profiler"]>["table"]>,
): Promise<void> {
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
