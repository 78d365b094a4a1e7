import { basename, dirname, resolve } from "node:path";
import { DATA_DEFAULTS, type DataConfig, parseDataConfig } from "../../data/documents/config.ts";
import { CREATE_TYPES, type CreateType } from "../../data/documents/prompts.ts";
import { SAVE_FORMATS, type SaveFormat } from "../../data/documents/rows.ts";
import { QwenchError } from "../../errors.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { isObject } from "../../text/json.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { MODEL_FLAGS, numberFlag, textOf } from "./text-flags.ts";

/** The steps of `qwench data`; `make` runs all of them. */
const DATA_STEPS = ["make", "ingest", "chunk", "create", "curate", "save-as"] as const;
export type DataStep = (typeof DATA_STEPS)[number];

const d = DATA_DEFAULTS;

export const DATA_FLAGS: CliFlag[] = [
  {
    name: "output",
    type: "string",
    value: "DIR",
    help: "The folder of all steps (default data): output/, generated/, cleaned/, final/ and report.html. The same command continues after an interruption.",
  },
  {
    name: "config",
    type: "string",
    value: "FILE",
    help: "synthetic-data-kit's YAML with vllm, api-endpoint, ingest, generation, curate, format and prompts. Flags override it.",
  },
  {
    name: "article",
    type: "boolean",
    help: "Keep only the article of HTML pages (default: of pages from an address).",
  },
  {
    name: "type",
    type: "string",
    value: CREATE_TYPES.join("|"),
    help: "create: question-answer pairs, pairs with reasoning, or a summary of each chunk (default qa).",
  },
  { name: "num_pairs", type: "string", value: "INT", help: `create: most pairs of a chunk (default ${d.num_pairs}).` },
  {
    name: "max_seq_length",
    type: "string",
    value: "INT",
    help: `chunk: most tokens of prompt and reply (default ${d.max_seq_length}, or the model's positions). A chunk has at most max_seq_length − 2·max_generation_tokens − 128 tokens.`,
  },
  {
    name: "max_generation_tokens",
    type: "string",
    value: "INT",
    help: `Most tokens of a reply (default ${d.max_generation_tokens}).`,
  },
  {
    name: "overlap",
    type: "string",
    value: "INT",
    help: `chunk: tokens that neighbouring chunks share (default ${d.overlap}).`,
  },
  { name: "temperature", type: "string", value: "NUMBER", help: `create: temperature (default ${d.temperature}).` },
  { name: "top_p", type: "string", value: "NUMBER", help: `top_p of all replies (default ${d.top_p}).` },
  {
    name: "threshold",
    type: "string",
    value: "NUMBER",
    help: `curate: pairs rated below it are left out (default ${d.threshold}, as in Unsloth; 7 is usual).`,
  },
  {
    name: "curate_batch_size",
    type: "string",
    value: "INT",
    help: `curate: pairs in one prompt (default ${d.curate_batch_size}).`,
  },
  {
    name: "curate_temperature",
    type: "string",
    value: "NUMBER",
    help: `curate: temperature (default ${d.curate_temperature}).`,
  },
  {
    name: "support",
    type: "boolean",
    help: "curate: also ask whether the chunk supports each answer, and leave out those that it does not.",
  },
  {
    name: "rate",
    type: "boolean",
    help: "curate: ask for ratings (default true). --rate false only removes duplicates and asks nothing.",
  },
  {
    name: "format",
    type: "string",
    value: SAVE_FORMATS.join("|"),
    help: `save-as: format of the rows (default ${d.format}). You can also give it without the flag: save-as alpaca.`,
  },
  {
    name: "metadata",
    type: "boolean",
    help: "save-as: add source, chunk, pages and rating to each row (default true).",
  },
  {
    name: "split",
    type: "string",
    value: "NUMBER",
    help: "save-as: test rows, as a share below 1 or a number (default 0: none).",
  },
  {
    name: "api_base",
    type: "string",
    value: "URL",
    help: "Ask this OpenAI-compatible endpoint instead of the model on this machine. Its key is in QWENCH_DATA_KEY. --model then names the tokenizer that counts the chunks' tokens.",
  },
  { name: "api_model", type: "string", help: "The endpoint's model." },
  {
    name: "api_parameters",
    type: "string",
    value: "JSON",
    help: 'Further fields of each request, such as {"response_format": {"type": "json_object"}}. null leaves a field out, such as {"seed": null}.',
  },
  { name: "concurrency", type: "string", value: "INT", help: `Requests at the same time (default ${d.concurrency}).` },
  { name: "max_retries", type: "string", value: "INT", help: `Retries of a request (default ${d.max_retries}).` },
  {
    name: "price_prompt",
    type: "string",
    value: "NUMBER",
    help: "USD per million prompt tokens, for the costs (default 0).",
  },
  { name: "price_completion", type: "string", value: "NUMBER", help: "USD per million reply tokens (default 0)." },
  {
    name: "max_cost",
    type: "string",
    value: "USD",
    help: "Stop when the endpoint has cost this much. Replies so far are kept.",
  },
  {
    name: "batch_size",
    type: "string",
    value: "INT",
    help: "Replies generated together on this machine (default: as many as memory allows). It changes no reply.",
  },
  {
    name: "json_grammar",
    type: "boolean",
    help: "Restrict the model's tokens to valid JSON of the wanted form (default true; this machine's model only).",
  },
  { name: "seed", type: "string", value: "INT", help: `Seed of the draws (default ${d.seed}).` },
  {
    name: "columns",
    type: "string",
    value: "NAMES",
    help: "show: the rows' columns under Qwench's names, such as prompt=q,completion=a. Training takes the same field.",
  },
  {
    name: "method",
    type: "string",
    value: "sft|grpo|dpo",
    help: "show: the method that reads the rows (default sft).",
  },
  { name: "rows", type: "string", value: "INT", help: "show: rows to show (default 3)." },
  {
    name: "max_length",
    type: "string",
    value: "INT",
    help: "show: most tokens of a row; longer rows are cut (default 1024).",
  },
  ...MODEL_FLAGS.filter(({ name }) => name !== "system"),
];

/** A parsed `qwench data` command line. */
export interface DataRequest {
  step: DataStep;
  /** files, folders and addresses */
  inputs: string[];
  output: string;
  config: DataConfig;
  /** max_seq_length was given, so that the model's positions do not decide */
  sized: boolean;
  notes: string[];
  type: CreateType;
  format: SaveFormat;
  article: boolean | null;
  support: boolean;
  rate: boolean;
  split: number;
  slots: number | null;
  grammar: boolean;
  parameters: Record<string, unknown>;
  price_prompt: number;
  price_completion: number;
  max_cost: number | null;
}

/** @throws {UsageError} an invalid command line @throws {RecipeError} an invalid config file */
export async function dataRequest({ positional, flags }: ParsedArgs): Promise<DataRequest> {
  const [step, ...inputs] = positional;
  if (!DATA_STEPS.includes(step as DataStep)) {
    throw new UsageError(`Give a step: ${DATA_STEPS.join(", ")}, or show${step === undefined ? "" : `; got ${step}`}`);
  }
  const format = step === "save-as" && inputs.length === 1 ? inputs.pop()! : textOf(flags, "format");
  const reads = step === "make" || step === "ingest";
  if (reads && inputs.length === 0) throw new UsageError(`qwench data ${step} needs files, folders or addresses`);
  if (!reads && inputs.length > 0) {
    throw new UsageError(
      `qwench data ${step} takes no files: it reads the folder of --output, which ingest has filled`,
    );
  }
  const file = textOf(flags, "config");
  const given =
    file === null
      ? { config: {}, notes: [] }
      : parseDataConfig(await nodeFolder(dirname(resolve(file))).readText(basename(file)), file);
  const config = { ...DATA_DEFAULTS, ...given.config, ...configFlags(flags) };
  const chosen = format ?? config.format;
  return {
    ...{ step: step as DataStep, inputs, output: textOf(flags, "output") ?? "data", notes: given.notes },
    config,
    sized: "max_seq_length" in given.config || textOf(flags, "max_seq_length") !== null,
    type: choice("--type", textOf(flags, "type") ?? "qa", CREATE_TYPES),
    format: choice(format === null ? "format.default" : "--format", chosen, SAVE_FORMATS),
    article: typeof flags.article === "boolean" ? flags.article : null,
    support: flags.support === true,
    rate: flags.rate !== false,
    split: splitOf(flags),
    slots: numberFlag(flags, "batch_size", { whole: true, min: 1 }),
    grammar: flags.json_grammar !== false,
    parameters: parametersOf(textOf(flags, "api_parameters")),
    price_prompt: numberFlag(flags, "price_prompt", { min: 0 }) ?? 0,
    price_completion: numberFlag(flags, "price_completion", { min: 0 }) ?? 0,
    max_cost: numberFlag(flags, "max_cost", { min: 0 }),
  };
}

function configFlags(flags: ParsedArgs["flags"]): Partial<DataConfig> {
  const whole = { whole: true, min: 1 };
  const numbers = {
    num_pairs: { ...whole, max: 1000 },
    max_seq_length: whole,
    max_generation_tokens: whole,
    overlap: { whole: true, min: 0 },
    temperature: { min: 0 },
    top_p: { min: 0, max: 1 },
    threshold: { min: 0, max: 10 },
    curate_batch_size: { ...whole, max: 64 },
    curate_temperature: { min: 0 },
    concurrency: { ...whole, max: 1000 },
    max_retries: { whole: true, min: 0, max: 100 },
    seed: { whole: true, min: 0, max: 2 ** 32 - 1 },
  };
  const found: Record<string, unknown> = {};
  for (const [name, rule] of Object.entries(numbers)) {
    const value = numberFlag(flags, name, rule);
    if (value !== null) found[name] = value;
  }
  const texts = { api_base: "api_base", api_model: "model" };
  for (const [flag, setting] of Object.entries(texts)) {
    const value = textOf(flags, flag);
    if (value !== null) found[setting] = value;
  }
  if (typeof flags.metadata === "boolean") found.include_metadata = flags.metadata;
  return found;
}

function choice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  throw new UsageError(`${name} must be one of ${choices.join(", ")}, got ${value}`);
}

function splitOf(flags: ParsedArgs["flags"]): number {
  const split = numberFlag(flags, "split", { min: 0 }) ?? 0;
  if (split >= 1 && !Number.isInteger(split))
    throw new UsageError(`--split must be below 1 or a whole number, got ${split}`);
  return split;
}

function parametersOf(text: string | null): Record<string, unknown> {
  if (text === null) return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {}
  if (!isObject(value)) throw new UsageError(`--api_parameters must be a JSON object, got ${text}`);
  const secret = Object.keys(value).find((name) => /^(api_?key|authorization|key)$/i.test(name));
  if (secret !== undefined) {
    throw new QwenchError(
      `--api_parameters must not contain ${secret}: put the key into the environment variable QWENCH_DATA_KEY`,
    );
  }
  return value;
}
