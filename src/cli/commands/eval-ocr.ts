import { existsSync } from "node:fs";
import { join } from "node:path";
import type { NumberedRow } from "../../data/rows.ts";
import { rowError } from "../../data/rows.ts";
import { AbortError, DataError, QwenchError, UnsupportedError } from "../../errors.ts";
import {
  averagesCsv,
  characterErrors,
  detailedCsv,
  type OcrOptions,
  type OcrRecord,
  type OcrResults,
  ocrScores,
  rate,
  wordErrors,
} from "../../eval/ocr.ts";
import { readImageHeader } from "../../io/images.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { type ReportImage, renderOcr } from "../../report/ocr.ts";
import { loadText, promptOf, respond, settingsOf, type TextModel, type TextSettings } from "../../session/generate.ts";
import { holding } from "../../session/hold.ts";
import { Images } from "../../session/images.ts";
import { formatJson } from "../../text/json.ts";
import { formatShare } from "../../text/numbers.ts";
import { renderTable } from "../../text/tables.ts";
import { type ParsedArgs, UsageError } from "../args.ts";
import { askedSettings, numberFlag, stopsOf, textOf } from "../flags/text-flags.ts";
import { imageAccess } from "../sources/node-host.ts";
import { openRows } from "../sources/sources.ts";
import { type ModelRequest, modelRequest, openText } from "../sources/text-model.ts";
import { EXIT_INTERRUPTED, interruptible } from "../terminal/interrupt.ts";
import { ResponsesProgress } from "../terminal/responses-progress.ts";
import { statusLine } from "../terminal/status-line.ts";
import { packageVersion } from "../version.ts";

/** Rows whose images are in memory at once. */
const CHUNK = 32;
const SEED = 0;
const TEMPERATURE = 0;
const RESULTS_FILE = "results.json";

interface OcrRequest {
  dataset: string;
  split: string;
  config: string | null;
  limit: number;
  name: string;
  output: string;
  overwrite: boolean;
  json: boolean;
  system: string | null;
  options: Required<OcrOptions>;
  stop: string[];
  slots: number | undefined;
  settings: Partial<TextSettings>;
  model: ModelRequest;
}

/** A row with its images opened, its truth and its question. */
interface AskedRow {
  source: NumberedRow;
  truth: string;
  question: string;
  prompt_ids: readonly number[];
}

/** `qwench eval ocr ROWS`: word and character errors of the texts that a model reads in images. @returns the exit code */
export function runEvalOcr(args: ParsedArgs): Promise<number> {
  const asked = readFlags(args);
  const folder = nodeFolder(asked.output);
  if (existsSync(join(asked.output, RESULTS_FILE)) && !asked.overwrite) {
    throw new QwenchError(
      `Cannot write ${join(asked.output, RESULTS_FILE)}: it exists. Replace it with --overwrite true, or name another --output_dir`,
    );
  }
  const claim = { name: RESULTS_FILE, what: `write ${asked.output}`, instead: "name another --output_dir" };
  return interruptible((signal) => holding({ folder, ...claim }, () => evaluate(asked, folder, signal)));
}

function readFlags({ positional, flags }: ParsedArgs): OcrRequest {
  const [, dataset = textOf(flags, "file") ?? undefined, ...more] = positional;
  if (dataset === undefined || more.length > 0)
    throw new UsageError("Give one data set: qwench eval ocr ROWS, a file or a hub data set with images");
  for (const name of ["n", "k", "where", "template", "checkpoints", "extract", "output"]) {
    if (flags[name] !== undefined) throw new UsageError(`--${name} has no meaning in qwench eval ocr`);
  }
  const model = modelRequest(flags);
  const { max_new_tokens, ...settings } = askedSettings(flags);
  const most = numberFlag(flags, "max_tokens", { whole: true, min: 1 }) ?? max_new_tokens;
  const name = textOf(flags, "name") ?? model.adapter ?? model.model ?? "base";
  const short = name.replace(/\/+$/, "").replace(/^.*\//, "");
  return {
    dataset,
    split: textOf(flags, "split") ?? "test",
    config: textOf(flags, "dataset_config"),
    limit: numberFlag(flags, "limit", { whole: true, min: 1 }) ?? Number.POSITIVE_INFINITY,
    name: short,
    output: join(textOf(flags, "output_dir") ?? "qwench-eval", `ocr_${short}`),
    overwrite: flags.overwrite === true,
    json: flags.json === true,
    system: textOf(flags, "system"),
    options: { ignore_case: flags.ignore_case === true, ignore_punctuation: flags.ignore_punctuation === true },
    stop: stopsOf(flags),
    slots: numberFlag(flags, "batch_size", { whole: true, min: 1 }) ?? undefined,
    settings: { temperature: TEMPERATURE, ...settings, ...(most !== undefined && { max_new_tokens: most }) },
    model,
  };
}

async function evaluate(asked: OcrRequest, folder: Folder, signal: AbortSignal): Promise<number> {
  const status = statusLine();
  const { prepared, sources, hub } = await openText(asked.model, signal, status);
  const images = await Images.open(imageAccess(), prepared.checkpoint, prepared.config);
  if (!images) {
    throw new UnsupportedError(`Cannot read images with ${sources.model.path}: the model has no vision tower`);
  }
  const rows: AskedRow[] = [];
  for await (const source of await openRows(asked.dataset, { config: asked.config, split: asked.split }, hub)) {
    signal.throwIfAborted();
    const row = await images.row(source);
    if (!row.images) throw rowError(source, "has no image");
    const { prompt_ids } = promptOf(prepared, row, { system: asked.system });
    rows.push({ source: row, ...truthOf(row), prompt_ids });
    status(`Reading rows: ${rows.length}`);
    if (rows.length >= asked.limit) break;
  }
  if (rows.length === 0) throw new DataError(`${asked.dataset} has no rows`);
  const text = await loadText(prepared, { ...sources, vision: true });
  status(null);
  const settings = settingsOf(prepared.defaults, asked.settings, SEED);
  const records = await readAll(text, images, rows, { ...asked, settings, signal, status });
  if (!records) return EXIT_INTERRUPTED;
  const results: OcrResults = {
    model_type: asked.name,
    dataset: asked.dataset,
    ...ocrScores(records, asked.options),
    ...asked.options,
    max_new_tokens: settings.max_new_tokens,
    temperature: settings.temperature,
    seed: settings.seed,
    model_name_or_path: asked.model.model ?? sources.model.path,
    adapter_name_or_path: asked.model.adapter,
    qwench_version: packageVersion(),
  };
  await save(folder, results, records, await imagesOf(images, rows));
  if (asked.json) console.log(JSON.stringify(results, null, 2));
  else console.log(tableOf(results));
  console.error(`Results, detailed_results.csv, avg_metrics.csv and report: ${asked.output}`);
  return 0;
}

/** The truth and the question of a row: its last assistant turn or completion, else a column; and the text beside the image. */
function truthOf(source: NumberedRow): { truth: string; question: string } {
  const { row } = source;
  const turns = [row.messages ?? row.conversations ?? row.prompt, row.completion]
    .flat()
    .filter((turn) => turn !== undefined);
  const said = (roles: readonly string[]) => {
    const turn = turns.findLast((each) => roles.includes((each as Turn)?.role ?? (each as Turn)?.from ?? ""));
    return turn === undefined ? null : textIn((turn as Turn).content ?? (turn as Turn).value);
  };
  const column = ["ground_truth", "text", "answer", "completion"]
    .map((name) => row[name])
    .find((v) => typeof v === "string");
  const truth = said(["assistant", "gpt"]) ?? (column as string | undefined);
  if (truth === undefined || truth === null)
    throw rowError(source, "has no truth: an assistant's turn, or the column ground_truth, text or answer");
  return { truth, question: said(["user", "human"]) ?? "" };
}

interface Turn {
  role?: string;
  from?: string;
  content?: unknown;
  value?: unknown;
}

function textIn(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (typeof part?.text === "string" ? part.text : "")).join("");
}

/** Reads all images. @returns null after Ctrl-C */
async function readAll(
  text: TextModel,
  images: Images,
  rows: readonly AskedRow[],
  asked: Pick<OcrRequest, "stop" | "slots" | "options"> & {
    settings: TextSettings;
    signal: AbortSignal;
    status: (line: string | null) => void;
  },
): Promise<OcrRecord[] | null> {
  const { settings, signal, status, stop, slots, options } = asked;
  const records = new Array<OcrRecord>(rows.length);
  const progress = new ResponsesProgress({ total: rows.length, status });
  try {
    for (let first = 0; first < rows.length; first += CHUNK) {
      const chunk = rows.slice(first, first + CHUNK);
      const prompts = [];
      for (const [i, { source, prompt_ids }] of chunk.entries()) {
        signal.throwIfAborted();
        prompts.push({ prompt_ids, number: first + i, images: await images.seen(text.model, source) });
      }
      for await (const event of respond(text, prompts, { ...settings, stop, slots, signal })) {
        if (event.type === "text") progress.tokens(event.tokens);
        else {
          progress.ended();
          records[first + event.prompt] = recordOf(chunk[event.prompt], event.made, options);
        }
      }
    }
  } catch (error) {
    if (error instanceof AbortError || signal.aborted) return null;
    throw error;
  } finally {
    progress.end();
  }
  return records;
}

function recordOf(
  { source, truth, question }: AskedRow,
  made: { text: string; finish_reason: OcrRecord["finish_reason"] },
  options: OcrOptions,
): OcrRecord {
  return {
    sample: source.number,
    wer: rate(wordErrors(truth, made.text, options)),
    cer: rate(characterErrors(truth, made.text, options)),
    ground_truth: truth,
    generated_text: made.text,
    question,
    finish_reason: made.finish_reason,
  };
}

async function imagesOf(images: Images, rows: readonly AskedRow[]): Promise<Map<number, ReportImage[]>> {
  const all = new Map<number, ReportImage[]>();
  for (const { source } of rows) {
    const own: ReportImage[] = [];
    for (const image of source.images ?? []) {
      const bytes = await images.bytesOf(image);
      own.push({ bytes, type: readImageHeader(bytes, "an image").type });
    }
    all.set(source.number, own);
  }
  return all;
}

async function save(
  folder: Folder,
  results: OcrResults,
  records: readonly OcrRecord[],
  images: ReadonlyMap<number, ReportImage[]>,
): Promise<void> {
  await folder.write("detailed_results.csv", detailedCsv(records));
  await folder.write("avg_metrics.csv", averagesCsv(results));
  await folder.write(
    "report.html",
    renderOcr(results, records, (sample) => images.get(sample) ?? []),
  );
  await folder.write(RESULTS_FILE, `${formatJson({ results, records }, 2)}\n`);
}

function tableOf(results: OcrResults): string {
  const rows = [
    ["CER", formatShare(results.avg_cer, 1), formatShare(results.cer, 1)],
    ["WER", formatShare(results.avg_wer, 1), formatShare(results.wer, 1)],
  ];
  const columns = [
    { heading: results.model_type },
    { heading: `mean of ${results.samples}`, align: "right" },
    { heading: "all text", align: "right" },
  ] as const;
  return renderTable(columns, rows);
}
