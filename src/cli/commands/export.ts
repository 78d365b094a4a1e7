import { basename, resolve } from "node:path";
import { readRows } from "../../data/dataset.ts";
import type { NumberedRow } from "../../data/rows.ts";
import { AbortError, DataError } from "../../errors.ts";
import type { HubOptions } from "../../io/hub/hub.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFile, nodeFolder } from "../../platform/node/fs.ts";
import {
  EXPORT_FORMATS,
  type ExportFormat,
  type ExportRequest,
  type ExportSource,
  type FloatDtype,
  GGUF_QUANTIZATIONS,
  type GgufQuantization,
  openExport,
  writeExport,
} from "../../session/export.ts";
import { checkExport, type ExportCheck, exportPassed } from "../../session/export-check.ts";
import { recallTuning } from "../../session/tune.ts";
import { formatFileSize } from "../../text/bytes.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { numberFlag, textOf } from "../flags/text-flags.ts";
import { type PendingFolder, writeFolder } from "../runs/export-folder.ts";
import { openGpu } from "../runs/open-gpu.ts";
import { tuningStore } from "../runs/tuning.ts";
import { hubOptions } from "../sources/hub.ts";
import { baseOf, openBaseOf, openModelFolder } from "../sources/sources.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { statusLine } from "../terminal/status-line.ts";

export const EXPORT_FLAGS: CliFlag[] = [
  { name: "adapter", type: "string", value: "PATH|ID", help: "A PEFT adapter: a folder or a hub id." },
  {
    name: "model",
    type: "string",
    value: "PATH|ID",
    help: "The base: a folder or a hub id (default: the one that the adapter names). Without --adapter, Qwench exports this model.",
  },
  { name: "model_revision", type: "string", help: "Branch, tag or commit of the model on the hub (default main)." },
  {
    name: "format",
    type: "string",
    value: EXPORT_FORMATS.join("|"),
    help: "lora: a PEFT folder. merged_16bit: a model folder for transformers and vLLM. merged_4bit: the same with linear layers in bitsandbytes' NF4. gguf: one file for llama.cpp and Ollama.",
  },
  { name: "output", type: "string", value: "DIR", help: "A new or empty folder." },
  {
    name: "quantization",
    type: "string",
    value: GGUF_QUANTIZATIONS.join("|"),
    help: "How gguf stores weights (default q8_0).",
  },
  {
    name: "dtype",
    type: "string",
    value: "auto|bfloat16|float16|float32",
    help: "Dtype of merged weights (default auto: the base's 16-bit dtype, and bfloat16 for a base in float32).",
  },
  {
    name: "check",
    type: "boolean",
    help: "Load the export and compare its logits and greedy tokens with the adapter's (default true). The exit code is 1 if they differ by more than the format's tolerance.",
  },
  {
    name: "prompts",
    type: "string",
    value: "FILE",
    help: "Prompts for the check: a text file with one prompt per line (.txt), or rows with prompt. Default: a few fixed prompts.",
  },
  {
    name: "check_tokens",
    type: "string",
    value: "INT",
    help: "Greedy tokens to compare for each prompt (default 16).",
  },
];

const DTYPES: Readonly<Record<string, FloatDtype | null>> = {
  auto: null,
  bfloat16: "BF16",
  float16: "F16",
  float32: "F32",
};
const MOST_PROMPTS = 16;

interface Asked {
  adapter: string | null;
  model: string | null;
  revision: string;
  format: ExportFormat;
  output: string;
  quantization: GgufQuantization;
  dtype: FloatDtype | null;
  check: boolean;
  prompts: string | null;
  tokens: number | undefined;
}

/** `qwench export`: exports an adapter, a model, or a model with a merged adapter. @returns the exit code */
export async function runExport(args: ParsedArgs): Promise<number> {
  const asked = readFlags(args);
  return interruptible((signal) => exportModel(asked, signal));
}

function readFlags({ positional, flags }: ParsedArgs): Asked {
  if (positional.length > 0) throw new UsageError(`qwench export takes flags only, got ${positional.join(" ")}`);
  const [adapter, model, format, output] = ["adapter", "model", "format", "output"].map((name) => {
    const text = textOf(flags, name);
    if (text === "") throw new UsageError(`--${name} must not be empty`);
    return text;
  });
  const oneOf = <T extends string>(name: string, value: string | null, values: readonly T[]): T => {
    if (value === null) throw new UsageError(`--${name} is needed: ${values.join(", ")}`);
    if (!(values as readonly string[]).includes(value)) {
      throw new UsageError(`--${name} must be one of ${values.join(", ")}, got ${value}`);
    }
    return value as T;
  };
  const chosen = oneOf("format", format, EXPORT_FORMATS);
  if (adapter === null && model === null) throw new UsageError("Name what to export with --adapter or --model");
  if (adapter === null && chosen === "lora")
    throw new UsageError("--format lora exports an adapter: name it with --adapter");
  if (output === null) throw new UsageError("--output is needed: a new or empty folder");
  const only = (name: string, formats: readonly ExportFormat[]) => {
    if (textOf(flags, name) !== null && !formats.includes(chosen)) {
      throw new UsageError(`--${name} is for --format ${formats.join(" and ")}, not ${chosen}`);
    }
  };
  only("quantization", ["gguf"]);
  only("dtype", ["merged_16bit", "merged_4bit"]);
  const dtype = oneOf("dtype", textOf(flags, "dtype") ?? "auto", Object.keys(DTYPES));
  return {
    adapter,
    model,
    revision: textOf(flags, "model_revision") ?? "main",
    format: chosen,
    output,
    quantization: oneOf("quantization", textOf(flags, "quantization") ?? "q8_0", GGUF_QUANTIZATIONS),
    dtype: DTYPES[dtype],
    check: flags.check !== false,
    prompts: textOf(flags, "prompts"),
    tokens: numberFlag(flags, "check_tokens", { whole: true, min: 1 }) ?? undefined,
  };
}

async function exportModel(asked: Asked, signal: AbortSignal): Promise<number> {
  const { output, format } = asked;
  const status = statusLine();
  const hub = hubOptions(signal, ({ file, totalReceived, totalSize }) =>
    status(`Downloading ${file}: ${formatFileSize(totalReceived)} of ${formatFileSize(totalSize)}`),
  );
  const rows = asked.prompts === null ? null : await readPrompts(asked.prompts);
  const { source, base } = await openSource(asked, hub);
  status(null);
  const { quantization, dtype, check, tokens } = asked;
  const settings = { format, quantization, dtype, name: basename(resolve(output)), base };
  const identity = JSON.stringify({ ...settings, adapter: source.adapter?.path ?? null, check });
  const onProgress = (done: number, total: number) =>
    status(`Writing: ${formatFileSize(done)} of ${formatFileSize(total)}`);
  const note = (text: string) => console.error(`note: ${text}`);
  const code = await writeFolder(output, identity, note, (pending) =>
    writeChecked(pending, source, { ...settings, signal, onProgress }, { output, check, rows, tokens }),
  );
  if (code !== null) return code;
  const folder = nodeFolder(output);
  console.log(`${output}: ${await listing(folder, await folder.list())}`);
  note("an earlier export to this folder was complete, so Qwench only renamed it");
  return 0;
}

interface Checking {
  output: string;
  check: boolean;
  rows: NumberedRow[] | null;
  tokens: number | undefined;
}

/** Writes an export, checks it, and renames it to its final name. @returns the exit code */
async function writeChecked(
  pending: PendingFolder,
  source: ExportSource,
  request: ExportRequest,
  { output, check: checking, rows, tokens }: Checking,
): Promise<number> {
  const status = statusLine();
  const clear = async () => {
    status(null);
    await pending.discard();
    console.error(`Removed the unfinished ${output}`);
  };
  const stays = `it stays in ${pending.folder.path}, and ${output} was not created`;
  const names = await writeExport(pending.folder, source, request).catch(async (error) => {
    await clear();
    throw error;
  });
  status(null);
  const check = checking
    ? await checked(source, pending.folder, request, rows, tokens).catch(async (error) => {
        if (error instanceof AbortError) await clear();
        else console.error(`The check of the export failed: ${stays}. --check false exports without a check.`);
        throw error;
      })
    : null;
  if (check && !exportPassed(check)) {
    tell(check);
    console.error(`The export does not behave like its source model: ${stays}. Do not use it.`);
    return 1;
  }
  await pending.finish();
  console.log(`${output}: ${await listing(nodeFolder(output), names)}`);
  if (check) tell(check);
  else console.error("note: the export was not checked, so it may behave differently from the adapter");
  return 0;
}

/** Opens the base and the adapter on it. */
async function openSource(
  { adapter: adapterName, model, revision }: Asked,
  hub: HubOptions,
): Promise<{ source: ExportSource; base: string }> {
  const adapter = adapterName === null ? null : await openModelFolder(adapterName, "main", hub);
  const base = model ?? (adapter ? await baseOf(adapter) : "");
  if (base === "") {
    throw new UsageError(`The adapter ${adapterName} does not name its base model: name it with --model`);
  }
  const named = adapter !== null && model === null;
  const folder = named ? await openBaseOf(adapter, base, revision, hub) : await openModelFolder(base, revision, hub);
  return { source: await openExport(folder, adapter), base };
}

async function checked(
  source: ExportSource,
  folder: Folder,
  request: ExportRequest,
  rows: NumberedRow[] | null,
  tokens: number | undefined,
): Promise<ExportCheck> {
  const status = statusLine();
  const { gpu, platform } = await openGpu();
  console.error(`Checking on ${platform.describe}`);
  await recallTuning(gpu, tuningStore());
  const check = await checkExport(gpu, source, folder, request, {
    rows,
    tokens,
    signal: request.signal,
    onProgress: (what, done, total) => status(`Loading ${what}: ${formatFileSize(done)} of ${formatFileSize(total)}`),
  });
  status(null);
  return check;
}

function tell(check: ExportCheck): void {
  const { prompts, tokens, worst, worst_absolute, tolerance, greedy, effect } = check;
  const share = (x: number) => `${Number((100 * x).toPrecision(2))} %`;
  console.log(
    `${exportPassed(check) ? "ok" : "FAILED"}: over ${prompts} prompts of ${tokens} tokens the worst logit difference is ${share(worst)} of the largest logit (${worst_absolute.toPrecision(3)}; at most ${share(tolerance)}), and ${greedy.agreed} of ${greedy.tokens} greedy tokens agree.`,
  );
  if (effect === null) return;
  const kept = effect.clear ? `${share(effect.kept)} of that is in the export` : "rounding is larger than that";
  console.log(`The adapter itself changes logits by up to ${share(effect.worst)}: ${kept}.`);
  if (!effect.clear && exportPassed(check)) {
    console.error("note: the adapter's effect is close to this format's rounding error; choose a wider format.");
  }
}

/** @throws {DataError} the file has no prompt */
async function readPrompts(file: string): Promise<NumberedRow[]> {
  const source = await nodeFile(file);
  const rows: NumberedRow[] = [];
  if (/\.txt$/i.test(file)) {
    const lines = new TextDecoder().decode(await source.read(0, source.size)).split(/\r?\n/);
    for (const [i, prompt] of lines.entries()) if (prompt !== "") rows.push({ row: { prompt }, number: i + 1, file });
  } else {
    for await (const row of readRows(source)) rows.push(row);
  }
  if (rows.length === 0) throw new DataError(`Cannot check with ${file}: it has no prompts`);
  if (rows.length > MOST_PROMPTS) {
    console.error(`note: using the first ${MOST_PROMPTS} of the ${rows.length} prompts in ${file}`);
  }
  return rows.slice(0, MOST_PROMPTS);
}

async function listing(folder: Folder, names: readonly string[]): Promise<string> {
  const sizes = await Promise.all(names.map(async (name) => (await folder.open(name)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return `${names.map((name, i) => (sizes[i] > 1e6 ? `${name} (${formatFileSize(sizes[i])})` : name)).join(", ")}; ${formatFileSize(total)} in total`;
}
