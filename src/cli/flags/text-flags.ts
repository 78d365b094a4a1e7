import { MAX_NEW_TOKENS, type TextSettings } from "../../session/generate.ts";
import { show } from "../../text/show.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";

/** The rule for a number. */
interface NumberRule {
  whole?: boolean;
  min?: number;
  /** exclusive */
  above?: number;
  max?: number;
}

/** Generation settings with transformers' names: flags of `generate` and `chat`, and commands in a chat. */
export const SETTINGS = {
  temperature: { min: 0 },
  top_k: { whole: true, min: 0 },
  top_p: { min: 0, max: 1 },
  min_p: { min: 0, max: 1 },
  repetition_penalty: { above: 0 },
  max_new_tokens: { whole: true, min: 1 },
  seed: { whole: true, min: 0, max: 2 ** 32 - 1 },
} as const satisfies Record<string, NumberRule>;
export type Setting = keyof typeof SETTINGS;

export const MODEL_FLAGS: CliFlag[] = [
  {
    name: "model",
    type: "string",
    value: "PATH|ID",
    help: "A folder with config.json, safetensors and tokenizer.json, or a hub id. Default: the base that the adapter names, else the embedded model.",
  },
  { name: "model_name_or_path", type: "string", value: "PATH|ID", help: "The recipes' name for --model." },
  { name: "model_revision", type: "string", help: "Branch, tag or commit of the model on the hub (default main)." },
  { name: "adapter", type: "string", value: "PATH|ID", help: "A PEFT adapter to use: a folder or a hub id." },
  { name: "adapter_name_or_path", type: "string", value: "PATH|ID", help: "The recipes' name for --adapter." },
  {
    name: "dtype",
    type: "string",
    value: "auto|float32|float16|bfloat16",
    help: "How weights are stored in GPU memory (default auto: as in the file).",
  },
  {
    name: "load_in_4bit",
    type: "boolean",
    help: "Quantise the linear layers to NF4 while loading. They then take about a third of bf16's memory.",
  },
  { name: "load_in_8bit", type: "boolean", help: "Quantise the linear layers to int8 while loading." },
  { name: "use_bnb_nested_quant", type: "boolean", help: "With load_in_4bit, quantise the scales as well." },
  {
    name: "bf16",
    type: "string",
    value: "true|false",
    help: "Keep keys and values as bf16, in half the memory (default: as the run was trained that wrote the adapter or the model, else false).",
  },
  {
    name: "chat_template_path",
    type: "string",
    value: "PATH",
    help: "A Jinja file, or a folder or hub id whose chat template replaces the model's own.",
  },
  { name: "system", type: "string", help: "System message for conversations without one." },
];

const own = "default: generation_config.json's, else";
export const SETTING_FLAGS: CliFlag[] = [
  {
    name: "temperature",
    type: "string",
    value: "NUMBER",
    help: `Logits are divided by it. 0 takes the most probable token. The default is transformers': generation_config.json's value, or 1, if that file sets do_sample or you give top_k, top_p or min_p; else 0.`,
  },
  {
    name: "top_k",
    type: "string",
    value: "INT",
    help: `Sample among this many of the most probable tokens; 0 is off (${own} 50).`,
  },
  {
    name: "top_p",
    type: "string",
    value: "NUMBER",
    help: `Sample among the fewest tokens whose probabilities add up to this (${own} 1, off).`,
  },
  {
    name: "min_p",
    type: "string",
    value: "NUMBER",
    help: `Sample among tokens with at least this share of the most probable token's probability (${own} 0, off).`,
  },
  {
    name: "repetition_penalty",
    type: "string",
    value: "NUMBER",
    help: `Above 1, tokens that occurred before become less likely (${own} 1, off).`,
  },
  {
    name: "max_new_tokens",
    type: "string",
    value: "INT",
    help: `Largest number of tokens in a response (${own} ${MAX_NEW_TOKENS}).`,
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
    help: "transformers' name for texts that end a response: it ends with the token that completes one, and includes it (default: generation_config.json's). You can give it several times.",
  },
];

/** Reads a number. @throws {UsageError} `--top_p must be a number between 0 and 1, got "2"` */
export function numberOf(name: string, text: string, rule: NumberRule): number {
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN;
  const {
    whole = false,
    min = Number.NEGATIVE_INFINITY,
    above = Number.NEGATIVE_INFINITY,
    max = Number.MAX_VALUE,
  } = rule;
  if (value >= min && value > above && value <= max && (!whole || Number.isSafeInteger(value))) return value;
  const kind = whole ? "a whole number" : "a number";
  const bounds =
    rule.above !== undefined
      ? ` above ${rule.above}`
      : rule.max !== undefined
        ? ` between ${rule.min} and ${rule.max}`
        : ` of at least ${rule.min}`;
  throw new UsageError(`${name} must be ${kind}${bounds}, got ${show(text)}`);
}

/** A flag's text, or null. */
export function textOf(flags: ParsedArgs["flags"], name: string): string | null {
  const value = flags[name];
  return typeof value === "string" ? value : null;
}

/** A number given as a flag, or null. @throws {UsageError} */
export function numberFlag(flags: ParsedArgs["flags"], name: string, rule: NumberRule): number | null {
  const text = textOf(flags, name);
  return text === null ? null : numberOf(`--${name}`, text, rule);
}

/** The settings given as flags. @throws {UsageError} */
export function askedSettings(flags: ParsedArgs["flags"]): Partial<TextSettings> {
  const asked: Partial<TextSettings> = {};
  for (const name of Object.keys(SETTINGS) as Setting[]) {
    const value = numberFlag(flags, name, SETTINGS[name]);
    if (value !== null) asked[name] = value;
  }
  if (flags.stop_strings !== undefined) asked.stop_strings = stopsOf(flags, "stop_strings");
  return asked;
}

/** Stop strings. @throws {UsageError} a stop string is empty */
export function stopsOf(flags: ParsedArgs["flags"], name: "stop" | "stop_strings" = "stop"): string[] {
  const given = flags[name];
  const stops = Array.isArray(given) ? given : [];
  if (stops.includes(""))
    throw new UsageError(`--${name} must not be empty: every response would end before it begins`);
  return stops;
}
