import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { readRows } from "../../data/dataset.ts";
import type { NumberedRow } from "../../data/rows.ts";
import { AbortError, DataError, NotFoundError, UnsupportedError } from "../../errors.ts";
import { nodeFile, nodeFolder } from "../../platform/node/fs.ts";
import {
  loadText,
  type PreparedText,
  promptOf,
  type RespondOptions,
  respond,
  settingsOf,
  type TextModel,
  type TextResponse,
  type TextSettings,
} from "../../session/generate.ts";
import { holding } from "../../session/hold.ts";
import { Images } from "../../session/images.ts";
import { renderTable } from "../../text/tables.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { askedSettings, MODEL_FLAGS, numberFlag, SETTING_FLAGS, stopsOf, textOf } from "../flags/text-flags.ts";
import {
  type AskedRow,
  checkColumns,
  checkOutput,
  printedRows,
  type RowsOutput,
  resultOf,
  savedRows,
} from "../runs/generate-rows.ts";
import { imageAccess } from "../sources/node-host.ts";
import { type ModelRequest, modelRequest, openText } from "../sources/text-model.ts";
import { EXIT_INTERRUPTED, interruptible } from "../terminal/interrupt.ts";
import { plainText } from "../terminal/plain-text.ts";
import { ResponsesProgress } from "../terminal/responses-progress.ts";
import { statusLine } from "../terminal/status-line.ts";

export const GENERATE_FLAGS: CliFlag[] = [
  { name: "prompt", type: "string", help: "The prompt. You can also give it without the flag." },
  {
    name: "file",
    type: "string",
    value: "ROWS",
    help: "Answer every row of a JSONL, CSV or Parquet file. A row holds prompt (text or messages), messages or question. A final assistant turn is ignored.",
  },
  {
    name: "output",
    type: "string",
    value: "FILE",
    help: "Write JSONL to FILE: the rows' own columns and responses, finish_reasons, prompt_tokens, completion_tokens. FILE.partial holds the rows so far, and the same command continues from it. Default: stdout.",
  },
  { name: "overwrite", type: "boolean", help: "Replace an --output that exists." },
  {
    name: "image",
    type: "list",
    value: "FILE",
    help: "A PNG, JPEG or WebP file that the model sees before the prompt. You can give it several times. Rows of --file have their own images.",
  },
  { name: "n", type: "string", value: "INT", help: "Responses to each prompt (default 1)." },
  { name: "raw", type: "boolean", help: "Continue the prompt as plain text, without the chat template." },
  ...SETTING_FLAGS,
  {
    name: "seed",
    type: "string",
    value: "INT",
    help: "Seed of the draws (default 42). The same seed gives the same responses.",
  },
  {
    name: "logprobs",
    type: "boolean",
    help: "Print each token's log-prob under the temperature, before top-k, top-p and min-p.",
  },
  {
    name: "batch_size",
    type: "string",
    value: "INT",
    help: "Responses that are generated together (default: as many as memory allows). It changes no response.",
  },
  ...MODEL_FLAGS,
];

const SEED = 42;
/** Milliseconds between two text updates on a screen. */
const PACE = 100;

interface Asked {
  prompt: string | null;
  images: string[];
  file: string | null;
  output: string | null;
  overwrite: boolean;
  n: number;
  raw: boolean;
  system: string | null;
  logprobs: boolean;
  slots: number | null;
  stop: string[];
  settings: Partial<TextSettings>;
  model: ModelRequest;
}

/** `qwench generate`: answers one prompt or a file of prompts. @returns the exit code */
export async function runGenerate(args: ParsedArgs): Promise<number> {
  const asked = readFlags(args);
  return interruptible((signal) => generate(asked, signal));
}

function readFlags({ positional, flags }: ParsedArgs): Asked {
  if (positional.length > 1) {
    throw new UsageError(
      `Give at most one prompt, got ${positional.length}: put quotes around a prompt of several words`,
    );
  }
  const [given, file, output] = ["prompt", "file", "output"].map((name) => textOf(flags, name));
  if (given !== null && positional.length > 0)
    throw new UsageError("The prompt is given twice, with and without --prompt");
  const prompt = given ?? positional[0] ?? null;
  if (prompt === null && file === null) throw new UsageError("Give a prompt, or a file of prompts with --file");
  if (prompt !== null && file !== null) throw new UsageError("Give a prompt or --file, not both");
  if (prompt === "") throw new UsageError("The prompt is empty");
  const images = Array.isArray(flags.image) ? flags.image : [];
  if (images.length > 0 && (prompt === null || flags.raw === true))
    throw new UsageError("--image needs a prompt and the chat template: give no --file and no --raw");
  const raw = flags.raw === true;
  const system = textOf(flags, "system");
  if (raw && system !== null) throw new UsageError("--system needs the chat template, but --raw turns it off");
  const positive = { whole: true, min: 1 };
  return {
    prompt,
    images,
    file,
    output,
    overwrite: flags.overwrite === true,
    n: numberFlag(flags, "n", positive) ?? 1,
    raw,
    system,
    logprobs: flags.logprobs === true,
    slots: numberFlag(flags, "batch_size", positive),
    stop: stopsOf(flags),
    settings: askedSettings(flags),
    model: modelRequest(flags),
  };
}

/** Generates responses while holding a lock on the output. */
function generate(asked: Asked, signal: AbortSignal): Promise<number> {
  const { output } = asked;
  if (output === null) return answer(asked, signal);
  checkOutput(output, asked.overwrite);
  const folder = nodeFolder(dirname(resolve(output)));
  const claim = { name: basename(output), what: `write ${output}`, instead: "name another --output" };
  return holding({ folder, ...claim }, () => answer(asked, signal));
}

async function answer(asked: Asked, signal: AbortSignal): Promise<number> {
  const { file, output, n } = asked;
  if (file !== null && !existsSync(file))
    throw new NotFoundError(`Cannot read prompts from ${file}: there is no such file`);
  const status = statusLine();
  const { prepared, sources } = await openText(asked.model, signal, status);
  const settings = settingsOf(prepared.defaults, asked.settings, SEED);
  if (n > 1 && settings.temperature === 0) {
    throw new UsageError(`--n ${n} needs a --temperature above 0: without sampling all responses are the same`);
  }
  const images = await Images.open(imageAccess(), prepared.checkpoint, prepared.config);
  const open = async (source: NumberedRow) => (images ? images.row(source) : source);
  const rows =
    file === null ? [await promptRow(prepared, asked, open)] : await fileRows(prepared, file, asked, open, signal);
  const { slots, stop } = asked;
  const options: RespondOptions = { ...settings, n, stop, slots: slots ?? undefined, signal };
  const identity = {
    model: sources.model.path,
    adapter: sources.adapter?.path ?? null,
    dtype: asked.model.dtype,
    quantization: asked.model.quantization,
    ...settings,
    n,
    stop,
    logprobs: asked.logprobs,
  };
  const out = output === null ? null : await savedRows(output, rows, identity, asked.overwrite);
  const vision = rows.some(({ source }) => source.images);
  const text = await loadText(prepared, { ...sources, vision });
  for (const row of vision ? rows : []) {
    signal.throwIfAborted();
    row.images = await images!.seen(text.model, row.source);
  }
  status(null);
  if (out) return writeRows(text, rows, options, asked.logprobs, out, status);
  if (file !== null) {
    return writeRows(
      text,
      rows,
      options,
      asked.logprobs,
      printedRows(rows, (line) => process.stdout.write(line)),
      status,
    );
  }
  return n === 1
    ? stream(text, rows[0], options, asked.logprobs)
    : print(text, rows[0], options, asked.logprobs, status);
}

type OpenRow = (source: NumberedRow) => Promise<NumberedRow>;

async function promptRow(
  prepared: PreparedText,
  { prompt, images, raw, system }: Asked,
  open: OpenRow,
): Promise<AskedRow> {
  const plain = { row: { prompt } as Record<string, unknown>, number: 1, file: "--prompt" };
  if (images.length > 0) {
    if (!prepared.config.vision) throw new UnsupportedError("Cannot use --image: the model has no vision tower");
    // the user names these files, so they may be anywhere
    const files = await Promise.all(images.map(async (image) => nodeFile(image)));
    const parts = await Promise.all(
      files.map(async (each) => ({ type: "image", bytes: await each.read(0, each.size) })),
    );
    plain.row = { prompt: [{ role: "user", content: [...parts, { type: "text", text: prompt }] }] };
  }
  try {
    const source = await open(plain);
    return { source, prompt: promptOf(prepared, source, { raw, system }) };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new DataError(error.message.replace("--prompt, row 1:", "Cannot answer the prompt:"));
  }
}

async function fileRows(
  prepared: PreparedText,
  file: string,
  { raw, system }: Asked,
  open: OpenRow,
  signal: AbortSignal,
): Promise<AskedRow[]> {
  const rows: AskedRow[] = [];
  for await (const source of readRows(await nodeFile(file))) {
    signal.throwIfAborted();
    checkColumns(source);
    const opened = await open(source);
    const prompt = promptOf(prepared, opened, { raw, system });
    rows.push({ source: { ...source, images: opened.images }, prompt });
  }
  if (rows.length === 0) throw new DataError(`${file} has no rows`);
  return rows;
}

/** One response, printed during generation. */
async function stream(text: TextModel, row: AskedRow, options: RespondOptions, logprobs: boolean): Promise<number> {
  const show = shown();
  let written = "";
  try {
    for await (const event of respond(text, [{ ...row.prompt, images: row.images }], { ...options, pace: PACE })) {
      if (event.type === "text") process.stdout.write(show((written += event.text) && event.text));
      else if (logprobs) process.stdout.write(`\n\n${logprobTable(text, event.made)}`);
    }
  } catch (error) {
    if (!(error instanceof AbortError)) throw error;
    process.stdout.write("\n");
    return EXIT_INTERRUPTED;
  }
  if (!logprobs && !written.endsWith("\n")) process.stdout.write("\n");
  return 0;
}

/** Several responses to one prompt, one below the other. */
async function print(
  text: TextModel,
  row: AskedRow,
  options: RespondOptions,
  logprobs: boolean,
  status: (line: string | null) => void,
): Promise<number> {
  const show = shown();
  const made: TextResponse[] = [];
  const code = await follow(text, [row], options, status, async (_, response, one) => {
    made[response] = one;
  });
  for (const [i, one] of made.entries()) {
    if (!one) continue; // interrupted before this response
    const { ids, finish_reason } = one;
    process.stdout.write(
      `── ${i + 1} of ${options.n} (${ids.length} tokens, ${finish_reason}) ──\n${show(one.text)}\n`,
    );
    process.stdout.write(logprobs ? `\n${logprobTable(text, one)}\n` : "\n");
  }
  return code;
}

/** Rows to a file or to stdout. */
async function writeRows(
  text: TextModel,
  rows: readonly AskedRow[],
  options: RespondOptions,
  logprobs: boolean,
  out: RowsOutput,
  status: (line: string | null) => void,
): Promise<number> {
  const left = rows.map((row, number) => ({ row, number })).filter(({ number }) => !out.done.has(number));
  if (out.done.size > 0) console.error(`Continuing after ${out.done.size} of ${rows.length} rows`);
  const made = left.map(() => [] as TextResponse[]);
  const asked = left.map(({ row, number }) => ({ ...row, number }));
  const code = await follow(text, asked, options, status, async (prompt, response, one) => {
    const own = made[prompt];
    own[response] = one;
    if (Object.keys(own).length < (options.n ?? 1)) return;
    await out.add(left[prompt].number, resultOf(left[prompt].row, own, logprobs));
    made[prompt] = []; // sent in pieces, because a file may have many rows
  });
  const said = await out.end(code === 0);
  if (said) console.error(said);
  return code;
}

/**
 * Shows progress of responses on stderr.
 *
 * @returns the exit code; `take` has received every response that ended before Ctrl-C
 */
async function follow(
  text: TextModel,
  rows: readonly (AskedRow & { number?: number })[],
  options: RespondOptions,
  status: (line: string | null) => void,
  take: (prompt: number, response: number, made: TextResponse) => Promise<void>,
): Promise<number> {
  const progress = new ResponsesProgress({ total: rows.length * (options.n ?? 1), status });
  try {
    const prompts = rows.map(({ prompt, number, images }) => ({ prompt_ids: prompt.prompt_ids, number, images }));
    for await (const event of respond(text, prompts, options)) {
      if (event.type === "text") progress.tokens(event.tokens);
      else {
        progress.ended();
        await take(event.prompt, event.response, event.made);
      }
    }
  } catch (error) {
    if (!(error instanceof AbortError)) throw error;
    return EXIT_INTERRUPTED;
  } finally {
    progress.end();
  }
  return 0;
}

/** Text for stdout: unchanged for a file or a pipe, without control characters for a screen. */
function shown(): (text: string) => string {
  return process.stdout.isTTY ? plainText : (text) => text;
}

function logprobTable({ tokenizer }: TextModel, { ids, logps }: TextResponse): string {
  const columns = [
    { heading: "token" },
    { heading: "id", align: "right" },
    { heading: "logprob", align: "right" },
  ] as const;
  return renderTable(
    columns,
    ids.map((id, i) => [JSON.stringify(tokenizer.decode([id])), id, logps[i].toFixed(4)]),
  );
}
