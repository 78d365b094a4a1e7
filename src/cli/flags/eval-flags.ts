import { existsSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { AIME_TEMPLATE, SYSTEM_PROMPTS } from "../../data/sets/forms.ts";
import { DATA_SETS } from "../../data/sets/registry.ts";
import { NotFoundError } from "../../errors.ts";
import { ADAPTER_CONFIG_FILE } from "../../io/peft.ts";
import { nearestName } from "../../recipe/recipe.ts";
import { EXTRACTION_STEPS, type ExtractionStep } from "../../rewards/maths/extract.ts";
import type { GradeOptions } from "../../rewards/maths/grade.ts";
import type { TextSettings } from "../../session/generate.ts";
import { show } from "../../text/show.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { EQUALITY_FLAGS } from "../commands/grade.ts";
import { type ModelRequest, modelRequest } from "../sources/text-model.ts";
import { MODEL_FLAGS, numberFlag, numberOf, stopsOf, textOf } from "./text-flags.ts";

/** The name of the embedded model's held-out problems. */
export const EMBEDDED_SET = "embedded";

/** Defaults of Unsloth's AIME evaluation. */
const DEFAULTS = { n: 8, temperature: 0.3, top_p: 0.95, seed: 0 };

const NUMBERS = { type: "string", value: "NUMBER" } as const;
const INTEGER = { type: "string", value: "INT" } as const;

export const EVAL_FLAGS: CliFlag[] = [
  {
    name: "file",
    type: "string",
    value: "PATH",
    help: "A file or folder that holds the data set NAME. Default: the hub.",
  },
  {
    name: "dataset_config",
    type: "string",
    help: "Configuration of the data set on the hub (default: its usual one).",
  },
  { name: "split", type: "string", help: "Split of the data set (default test)." },
  { name: "limit", ...INTEGER, help: "Use only the first N problems." },
  {
    name: "where",
    type: "list",
    value: "COLUMN=VALUES",
    help: "Only problems with one of these values in a column, such as level=1,2. You can give it several times.",
  },
  {
    name: "template",
    type: "string",
    help: "Text around the question; {problem} stands for the question. aime is the text of Unsloth's AIME evaluation. Default: the data set's own.",
  },
  ...MODEL_FLAGS.filter(({ name }) => name !== "system"),
  {
    name: "checkpoints",
    type: "string",
    value: "PATH",
    help: "Folder of a run. Every checkpoint-N in it is evaluated, except those whose output exists.",
  },
  {
    name: "system",
    type: "string",
    value: "TEXT|NAME",
    help: `System message for problems without one, or the name of a known message: ${Object.keys(SYSTEM_PROMPTS).join(", ")}.`,
  },
  { name: "n", ...INTEGER, help: `Responses to each problem (default ${DEFAULTS.n}; 1 at temperature 0).` },
  {
    name: "k",
    type: "string",
    value: "INTS",
    help: "Values of k for pass@k, such as 1,5, at most n (default 1, 2, 4, 8, … up to n).",
  },
  {
    name: "temperature",
    ...NUMBERS,
    help: `Logits are divided by it. 0 takes the most probable token (default ${DEFAULTS.temperature}).`,
  },
  {
    name: "top_p",
    ...NUMBERS,
    help: `Sample among the fewest tokens whose probabilities add up to this (default ${DEFAULTS.top_p}).`,
  },
  { name: "top_k", ...INTEGER, help: "Sample among this many of the most probable tokens (default 0, off)." },
  {
    name: "min_p",
    ...NUMBERS,
    help: "Sample among tokens with at least this share of the most probable token's probability (default 0, off).",
  },
  {
    name: "repetition_penalty",
    ...NUMBERS,
    help: "Above 1, tokens that occurred before become less likely (default 1, off).",
  },
  {
    name: "max_tokens",
    ...INTEGER,
    help: "Largest number of tokens in a response (default 2048, or fewer if the model has fewer positions; 48 for the embedded model).",
  },
  { name: "max_new_tokens", ...INTEGER, help: "The recipes' name for --max_tokens." },
  {
    name: "seed",
    ...INTEGER,
    help: `Seed of the draws (default ${DEFAULTS.seed}). The same seed gives the same responses.`,
  },
  {
    name: "stop",
    type: "list",
    help: "Text that ends a response. The response does not include it. You can give it several times.",
  },
  {
    name: "stop_strings",
    type: "list",
    value: "TEXT",
    help: "transformers' name for texts that end a response: it ends with the token that completes one, and includes it. You can give it several times.",
  },
  {
    name: "batch_size",
    ...INTEGER,
    help: "Responses that are generated together (default: as many as memory allows). It changes no response.",
  },
  {
    name: "extract",
    type: "string",
    value: "STEPS",
    help: `Where to look for a response's answer, in this order; the first place with an answer counts: ${EXTRACTION_STEPS.join(", ")}. tag means answer_tag.`,
  },
  ...EQUALITY_FLAGS,
  { name: "ignore_case", type: "boolean", help: "eval ocr: capital letters count as small ones." },
  { name: "ignore_punctuation", type: "boolean", help: "eval ocr: punctuation marks and symbols do not count." },
  {
    name: "name",
    type: "string",
    help: "Name of the model in tables (default: the adapter's or the model's folder; base for the embedded model).",
  },
  {
    name: "output_dir",
    type: "string",
    value: "PATH",
    help: "Folder for DATASET_NAME_tTEMPERATURE_nN.json (default qwench-eval).",
  },
  {
    name: "output",
    type: "string",
    value: "FILE",
    help: "Write results and records to FILE instead, and the report to FILE with .report.html in place of .json. FILE.partial holds the finished part, and the same command continues from it.",
  },
  { name: "overwrite", type: "boolean", help: "Replace an output that exists." },
  { name: "json", type: "boolean", help: "Print the results as JSON." },
];

/** A parsed command line, checked before any file is opened. */
export interface EvalRequest {
  /** a data set's name, or a path or hub id of rows */
  dataset: string;
  /** whether the user named the data set; false: the default */
  named: boolean;
  file: string | null;
  config: string | null;
  split: string;
  limit: number | null;
  where: Record<string, string[]>;
  template: string | null;
  system: string | null;
  model: ModelRequest;
  n: number;
  ks: number[];
  /** `max_new_tokens` is null unless given */
  settings: Omit<TextSettings, "max_new_tokens"> & { max_new_tokens: number | null };
  stop: string[];
  slots: number | null;
  grading: GradeOptions;
  /** the model's name */
  name: string;
  output: string;
  overwrite: boolean;
  json: boolean;
}

/**
 * Parses a command line into one evaluation, or one for each checkpoint in the run's folder, in the order of steps.
 *
 * @throws {UsageError} unknown or conflicting flags
 * @throws {NotFoundError} the folder has no checkpoints
 */
export function readEvalRequests(args: ParsedArgs): EvalRequest[] {
  const folder = textOf(args.flags, "checkpoints");
  if (folder === null) return [readEvalFlags(args)];
  const single = ["adapter", "adapter_name_or_path", "name", "output", "json"];
  const odd = single.find((name) => args.flags[name] !== undefined);
  if (odd) throw new UsageError(`--${odd} is for one model, but --checkpoints evaluates several`);
  const found = existsSync(folder)
    ? readdirSync(folder).flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
    : [];
  if (found.length === 0) throw new NotFoundError(`Cannot evaluate ${folder}: there is no checkpoint-N in it`);
  return found
    .sort((a, b) => Number(a) - Number(b))
    .map((step) => {
      const path = join(folder, `checkpoint-${step}`);
      const adapter = existsSync(join(path, ADAPTER_CONFIG_FILE));
      return readEvalFlags({ ...args, flags: { ...args.flags, [adapter ? "adapter" : "model"]: path } });
    });
}

/** @throws {UsageError} unknown or conflicting flags */
export function readEvalFlags({ positional, flags }: ParsedArgs): EvalRequest {
  if (positional.length > 1) {
    throw new UsageError(`Give one data set, got ${positional.length}: ${positional.join(", ")}`);
  }
  const model = modelRequest(flags);
  const dataset = positional[0] ?? EMBEDDED_SET;
  checkDataset(positional[0], model);
  const file = textOf(flags, "file");
  if (file !== null && !Object.hasOwn(DATA_SETS, dataset)) {
    throw new UsageError(
      `--file needs the NAME of a known data set, such as ${names()}; for other rows, give the file in place of NAME`,
    );
  }
  const { n, settings } = readSampling(flags);
  const name = textOf(flags, "name") ?? calledBy(model);
  if (name.trim() === "") throw new UsageError("--name must not be empty");
  const folder = textOf(flags, "output_dir") ?? "qwench-eval";
  const label = dataset.replace(/^.*[\\/](?=.)/, "").replace(/\.\w+(\.gz)?$/, "");
  const stem = `${label}_${name}_t${settings.temperature}_n${n}`.replace(/[^\w.+-]+/g, "-");
  const positive = { whole: true, min: 1 };
  return {
    dataset,
    named: positional.length > 0,
    file,
    config: textOf(flags, "dataset_config"),
    split: textOf(flags, "split") ?? "test",
    limit: numberFlag(flags, "limit", positive),
    where: readWhere(flags.where),
    template: readTemplate(textOf(flags, "template")),
    system: readSystem(textOf(flags, "system")),
    model,
    n,
    ks: readKs(textOf(flags, "k"), n),
    settings,
    stop: stopsOf(flags),
    slots: numberFlag(flags, "batch_size", positive),
    grading: {
      order: readOrder(textOf(flags, "extract")),
      precision: numberFlag(flags, "precision", { min: 0 }) ?? undefined,
      tolerance: numberFlag(flags, "tolerance", { min: 0 }),
    },
    name,
    output: textOf(flags, "output") ?? `${folder}/${stem}.json`,
    overwrite: flags.overwrite === true,
    json: flags.json === true,
  };
}

const names = () => Object.keys(DATA_SETS).join(", ");

/** Checks that a source of rows can exist. Hub data sets are checked on download. */
function checkDataset(given: string | undefined, { model }: ModelRequest): void {
  if (given === undefined) {
    if (model !== null) throw new UsageError(`Name a data set: ${names()}, ${EMBEDDED_SET}, or a file of rows`);
    return;
  }
  const known = [...Object.keys(DATA_SETS), EMBEDDED_SET];
  if (known.includes(given) || existsSync(given) || /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(given)) return;
  const near = nearestName(given, known);
  throw new UsageError(
    `There is no data set or file ${show(given)}${near ? `: did you mean ${near}?` : `; there are ${known.join(", ")}, files of rows, and the hub's owner/name`}`,
  );
}

function readSampling(flags: ParsedArgs["flags"]): Pick<EvalRequest, "n" | "settings"> {
  const positive = { whole: true, min: 1 };
  const temperature = numberFlag(flags, "temperature", { min: 0 }) ?? DEFAULTS.temperature;
  const n = numberFlag(flags, "n", positive) ?? (temperature === 0 ? 1 : DEFAULTS.n);
  if (n > 1 && temperature === 0) {
    throw new UsageError(`--n ${n} needs a --temperature above 0: without sampling all responses are the same`);
  }
  const [most, same] = ["max_tokens", "max_new_tokens"].map((name) => numberFlag(flags, name, positive));
  if (most !== null && same !== null) {
    throw new UsageError("--max_tokens and --max_new_tokens are the same: give one of them");
  }
  return {
    n,
    settings: {
      temperature,
      top_p: numberFlag(flags, "top_p", { min: 0, max: 1 }) ?? DEFAULTS.top_p,
      top_k: numberFlag(flags, "top_k", { whole: true, min: 0 }) ?? 0,
      min_p: numberFlag(flags, "min_p", { min: 0, max: 1 }) ?? 0,
      repetition_penalty: numberFlag(flags, "repetition_penalty", { above: 0 }) ?? 1,
      max_new_tokens: most ?? same,
      seed: numberFlag(flags, "seed", { whole: true, min: 0, max: 2 ** 32 - 1 }) ?? DEFAULTS.seed,
      stop_strings: stopsOf(flags, "stop_strings"),
    },
  };
}

function readKs(text: string | null, n: number): number[] {
  if (text === null) return [1, ...Array.from({ length: 30 }, (_, i) => 2 ** (i + 1)).filter((k) => k <= n)];
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  if (parts.length === 0) throw new UsageError("--k must name a number, such as 1,5");
  const ks = parts.map((part) => numberOf("--k", part, { whole: true, min: 1 }));
  const over = ks.find((k) => k > n);
  if (over !== undefined)
    throw new UsageError(`pass@${over} needs at least ${over} responses per problem: --n is ${n}`);
  return [...new Set(ks)].sort((a, b) => a - b);
}

function readWhere(given: ParsedArgs["flags"][string] | undefined): Record<string, string[]> {
  const where: Record<string, string[]> = {};
  for (const text of Array.isArray(given) ? given : []) {
    const at = text.indexOf("=");
    if (at < 1) throw new UsageError(`--where must be COLUMN=VALUES, such as level=1,2, got ${show(text)}`);
    const column = text.slice(0, at).trim();
    const values = text.slice(at + 1).split(",");
    where[column] = [...(where[column] ?? []), ...values.map((value) => value.trim())];
  }
  return where;
}

function readTemplate(text: string | null): string | null {
  if (text === "aime") return AIME_TEMPLATE;
  if (text !== null && !text.includes("{problem}")) {
    throw new UsageError(`--template must be aime, or text with {problem} in it, got ${show(text)}`);
  }
  return text;
}

function readSystem(text: string | null): string | null {
  return text !== null && Object.hasOwn(SYSTEM_PROMPTS, text)
    ? SYSTEM_PROMPTS[text as keyof typeof SYSTEM_PROMPTS]
    : text;
}

function readOrder(text: string | null): ExtractionStep[] | undefined {
  if (text === null) return undefined;
  const steps = text.split(/[\s,]+/).filter((step) => step !== "");
  const order = steps.map((step) => (step === "tag" ? "answer_tag" : step));
  const odd = order.find((step) => !EXTRACTION_STEPS.includes(step as ExtractionStep));
  if (odd !== undefined || order.length === 0) {
    throw new UsageError(`--extract may hold ${EXTRACTION_STEPS.join(", ")}, got ${odd ?? "nothing"}`);
  }
  return order as ExtractionStep[];
}

/** The last part of the evaluated model's path. */
function calledBy({ model, adapter }: ModelRequest): string {
  const path = adapter ?? model;
  return path === null ? "base" : basename(existsSync(path) ? resolve(path) : path);
}
