import { existsSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { FormatError, NotFoundError, QwenchError } from "../../errors.ts";
import { type Comparison, compareEvaluations } from "../../eval/compare/compare.ts";
import { type Evaluation, readEvaluation } from "../../eval/compare/file.ts";
import { type Place, placesOf } from "../../eval/compare/names.ts";
import { compareOcr, isOcrEvaluation, type OcrComparison, readOcrEvaluation } from "../../eval/compare/ocr.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { renderComparison } from "../../report/compare.ts";
import { renderOcrComparison } from "../../report/compare-ocr.ts";
import { metricsFile, readMetrics } from "../../session/run-log.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { numberFlag, textOf } from "../flags/text-flags.ts";
import { checkOutput } from "../runs/generate-rows.ts";
import { ocrComparisonText } from "../terminal/compare-ocr-text.ts";
import { comparisonText } from "../terminal/compare-text.ts";

export const COMPARE_FLAGS: CliFlag[] = [
  {
    name: "base",
    type: "string",
    value: "NAME|FILE",
    help: "The model that the others are compared with: its name in tables, or its file. Default: the model of the first file.",
  },
  {
    name: "run",
    type: "string",
    value: "OUTPUT_DIR",
    help: "Output folder of the training run. Qwench reads each checkpoint's eval_loss from checkpoint-N/trainer_state.json, else from metrics.jsonl. Default: the folder of the adapters that the evaluations name.",
  },
  {
    name: "output",
    type: "string",
    value: "DIR|FILE",
    help: "Write compare.html and compare.json to this folder. A name that ends in .html or .json writes only that file.",
  },
  { name: "overwrite", type: "boolean", help: "Replace an --output that exists." },
  { name: "json", type: "boolean", help: "Print JSON." },
  { name: "seed", type: "string", value: "INT", help: "Seed of the bootstrap's draws (default 0)." },
];

/** `qwench compare`: compares several evaluations. @returns 0 */
export async function runCompare({ positional: files, flags }: ParsedArgs): Promise<number> {
  if (files.length < 2) throw new UsageError(`Give at least two evaluations, got ${files.length}`);
  const paths = files.map((file) => resolve(file));
  const twice = files.find((_, i) => paths.indexOf(paths[i]) !== i);
  if (twice !== undefined) throw new UsageError(`${twice} is given twice`);
  const seed = numberFlag(flags, "seed", { whole: true, min: 0, max: 2 ** 32 - 1 }) ?? 0;
  const outputs = outputsOf(textOf(flags, "output"), flags.overwrite === true, paths);

  const texts: string[] = [];
  for (const file of files) texts.push(await nodeFolder(dirname(file)).readText(basename(file)));
  const options = { base: textOf(flags, "base") ?? undefined, seed };
  const { comparison, text, page } = await compared(files, texts, options, textOf(flags, "run"));
  if (flags.json) console.log(JSON.stringify(comparison, null, 1));
  else process.stdout.write(text(process.stdout.columns));
  for (const path of outputs) {
    await nodeFolder(dirname(path)).write(
      basename(path),
      path.endsWith(".html") ? page() : `${JSON.stringify(comparison, null, 1)}\n`,
    );
    console.error(`Wrote ${path}`);
  }
  return 0;
}

/** A comparison, and its forms. */
interface Compared {
  comparison: Comparison | OcrComparison;
  text(width?: number): string;
  page(): string;
}

/** @throws {UsageError} OCR evaluations and others together */
async function compared(
  files: readonly string[],
  texts: readonly string[],
  options: { base: string | undefined; seed: number },
  run: string | null,
): Promise<Compared> {
  const ocr = texts.map(isOcrEvaluation);
  if (ocr.every(Boolean)) {
    if (run !== null) throw new UsageError("--run has no meaning for OCR evaluations");
    const comparison = compareOcr(
      texts.map((text, i) => readOcrEvaluation(text, files[i])),
      options,
    );
    return {
      comparison,
      text: (width) => ocrComparisonText(comparison, width),
      page: () => renderOcrComparison(comparison),
    };
  }
  const odd = ocr.indexOf(true);
  if (odd >= 0) {
    throw new UsageError(
      `${files[odd]} is an OCR evaluation, and ${files[ocr.indexOf(false)]} is not: compare one kind`,
    );
  }
  const read = texts.map((text, i) => readEvaluation(text, files[i]));
  const evaluations = await withLosses(read, placesOf(read), run);
  const comparison = compareEvaluations(evaluations, options);
  return { comparison, text: (width) => comparisonText(comparison, width), page: () => renderComparison(comparison) };
}

/** The files to write. @throws {QwenchError} a file exists or is one of the evaluations */
function outputsOf(output: string | null, overwrite: boolean, inputs: readonly string[]): string[] {
  if (output === null) return [];
  const single = /\.(html|json)$/.test(output);
  if (!single && existsSync(output) && !statSync(output).isDirectory()) {
    throw new UsageError(`--output must be a folder, or end with .html or .json, got the file ${output}`);
  }
  const paths = single ? [output] : ["compare.html", "compare.json"].map((name) => `${output}/${name}`);
  for (const path of paths) {
    if (inputs.includes(resolve(path))) throw new QwenchError(`Cannot write ${path}: it is one of the evaluations`);
    checkOutput(path, overwrite);
  }
  return paths;
}

/** Adds each checkpoint's eval_loss to its evaluation, if the run's folder has it. */
async function withLosses(
  evaluations: readonly Evaluation[],
  places: readonly Place[],
  run: string | null,
): Promise<Evaluation[]> {
  if (run !== null) {
    if (!existsSync(run)) throw new NotFoundError(`Cannot read a run in ${run}: there is no such folder`);
    const runs = [...new Set(places.flatMap((place) => place.run ?? []))];
    if (runs.length === 0) throw new UsageError("--run is for checkpoints, but none of these models is a checkpoint");
    if (runs.length > 1)
      throw new UsageError(`--run is for the checkpoints of one run, but these are from ${runs.join(", ")}`);
  }
  const found: Evaluation[] = [];
  for (const [i, { step, run: own }] of places.entries()) {
    const folder = run ?? own;
    found.push({ ...evaluations[i], eval_loss: step !== null && folder ? await lossAt(folder, step) : null });
  }
  return found;
}

/** The newest eval_loss at a checkpoint's step, or null. */
async function lossAt(run: string, step: number): Promise<number | null> {
  const folder = nodeFolder(run);
  const state = `checkpoint-${step}/trainer_state.json`;
  const logs: Record<string, unknown>[] = [];
  if (await folder.exists(metricsFile)) {
    logs.push(...readMetrics(await folder.readText(metricsFile), `${run}/${metricsFile}`));
  }
  if (await folder.exists(state)) logs.push(...historyOf(await folder.readText(state), `${run}/${state}`));
  const measured = logs.findLast((log) => log.step === step && typeof log.eval_loss === "number");
  return (measured?.eval_loss as number | undefined) ?? null;
}

function historyOf(text: string, name: string): Record<string, unknown>[] {
  try {
    const { log_history: history } = parseBoundedJson(text) as { log_history?: unknown };
    if (!Array.isArray(history)) throw new Error("it has no log_history");
    return history;
  } catch (error) {
    throw new FormatError(`Cannot read the eval_loss of ${name}: ${(error as Error).message}`);
  }
}
