import { parseDocument } from "yaml";
import { RecipeError } from "../../errors.ts";
import { isObject } from "../../text/json.ts";
import { messageOf, show } from "../../text/show.ts";
import type { ChunkSizes } from "./chunks.ts";
import { PROMPTS, type Prompts } from "./prompts.ts";

/** The settings of `qwench data`, by synthetic-data-kit's names where it has them. */
export interface DataConfig extends ChunkSizes {
  /** an OpenAI-compatible endpoint, or null: Qwench's own engine */
  api_base: string | null;
  /** the endpoint's model */
  model: string | null;
  max_retries: number;
  /** seconds before the first retry */
  retry_delay: number;
  /** seconds; the limit of one request */
  timeout: number;
  /** requests at the same time */
  concurrency: number;
  temperature: number;
  top_p: number;
  /** most pairs of a chunk */
  num_pairs: number;
  /** pairs rated below it are left out */
  threshold: number;
  /** pairs in one prompt that rates them */
  curate_batch_size: number;
  curate_temperature: number;
  format: string;
  include_metadata: boolean;
  seed: number;
  prompts: Prompts;
}

/** The defaults: those of Unsloth's SyntheticDataKit. */
export const DATA_DEFAULTS: DataConfig = {
  api_base: null,
  model: null,
  max_retries: 3,
  retry_delay: 1,
  timeout: 120,
  concurrency: 8,
  temperature: 0.7,
  top_p: 0.95,
  max_seq_length: 2048,
  max_generation_tokens: 512,
  overlap: 64,
  num_pairs: 25,
  threshold: 1,
  curate_batch_size: 4,
  curate_temperature: 0.3,
  format: "messages",
  include_metadata: true,
  seed: 42,
  prompts: PROMPTS,
};

type Rule = { type: "number"; min: number; max?: number; whole?: boolean } | { type: "text" } | { type: "boolean" };
const count = { type: "number", min: 1, whole: true } as const;
const share = { type: "number", min: 0, max: 1 } as const;
const text = { type: "text" } as const;

/** A key of the file: the setting that it gives, or null if it is read and has no effect here. */
type Key = readonly [setting: keyof DataConfig | null, rule: Rule];

const ENDPOINT: Record<string, Key> = {
  api_base: ["api_base", text],
  model: ["model", text],
  max_retries: ["max_retries", { type: "number", min: 0, max: 100, whole: true }],
  retry_delay: ["retry_delay", { type: "number", min: 0, max: 3600 }],
  timeout: ["timeout", { type: "number", min: 1, max: 86_400 }],
  sleep_time: [null, { type: "number", min: 0 }],
  port: [null, count],
};

const CURATE: Record<string, Key> = {
  threshold: ["threshold", { type: "number", min: 0, max: 10 }],
  batch_size: ["curate_batch_size", { type: "number", min: 1, max: 64, whole: true }],
  temperature: ["curate_temperature", { type: "number", min: 0, max: 10 }],
  inference_batch: [null, count],
};

/** Every key of synthetic-data-kit's config that Qwench accepts, by section. `cleanup` is the older name of `curate`. */
const SECTIONS: Record<string, Record<string, Key>> = {
  llm: { provider: [null, text] },
  vllm: ENDPOINT,
  "api-endpoint": ENDPOINT,
  ingest: { default_format: [null, text], youtube_captions: [null, text] },
  generation: {
    temperature: ["temperature", { type: "number", min: 0, max: 10 }],
    top_p: ["top_p", share],
    chunk_size: ["max_seq_length", count],
    overlap: ["overlap", { type: "number", min: 0, whole: true }],
    max_tokens: ["max_generation_tokens", count],
    num_pairs: ["num_pairs", { type: "number", min: 1, max: 1000, whole: true }],
    batch_size: ["concurrency", { type: "number", min: 1, max: 1000, whole: true }],
    seed: ["seed", { type: "number", min: 0, max: 2 ** 32 - 1, whole: true }],
    num_cot_examples: ["num_pairs", { type: "number", min: 1, max: 1000, whole: true }],
    num_cot_enhance_examples: [null, count],
    max_context_length: [null, count],
  },
  curate: CURATE,
  cleanup: CURATE,
  format: {
    default: ["format", text],
    include_metadata: ["include_metadata", { type: "boolean" }],
    pretty_json: [null, { type: "boolean" }],
  },
  prompts: Object.fromEntries(Object.keys(PROMPTS).map((name) => [name, [null, text] as const])),
};

/**
 * Reads synthetic-data-kit's config file. `paths` is ignored, because `--output` decides; an api_key is refused, because a key
 * belongs into the environment.
 *
 * @param name of the file, for errors
 * @returns the settings that the file gives, and notes about keys without effect
 * @throws {RecipeError} an unknown key, by name, or a value of another type
 */
export function parseDataConfig(yaml: string, name: string): { config: Partial<DataConfig>; notes: string[] } {
  let content: unknown;
  try {
    const document = parseDocument(yaml);
    if (document.errors.length > 0) throw document.errors[0];
    content = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new RecipeError(`Cannot read ${name} as YAML: ${messageOf(error)}`);
  }
  if (!isObject(content)) throw new RecipeError(`Cannot read ${name}: it must be a map of sections`);
  const config: Partial<Record<keyof DataConfig, unknown>> = {};
  const notes: string[] = [];
  const provider = isObject(content.llm) ? content.llm.provider : undefined;
  const both = "vllm" in content && "api-endpoint" in content;
  for (const [section, values] of Object.entries(content)) {
    if (section === "paths") {
      notes.push(`${name}: paths has no effect: --output names the folder`);
      continue;
    }
    const keys = Object.hasOwn(SECTIONS, section) ? SECTIONS[section] : null;
    if (!keys) throw unknown(name, section, Object.keys(SECTIONS));
    if (values === null) continue;
    if (!isObject(values)) throw new RecipeError(`${name}: ${section} must be a map, not ${show(values)}`);
    // llm.provider says which of the two sections counts
    const unused = both && keys === ENDPOINT && section !== (provider ?? "vllm");
    for (const [key, value] of Object.entries(values)) {
      if (key === "api_key") {
        if (value === null || value === "") continue;
        throw new RecipeError(
          `${name}: ${section}.api_key must not be in a file: put the key into the environment variable`,
        );
      }
      if (!Object.hasOwn(keys, key)) throw unknown(name, `${section}.${key}`, Object.keys(keys));
      const [setting, rule] = keys[key];
      const checked = check(`${name}: ${section}.${key}`, value, rule);
      if (section === "prompts") config.prompts = { ...PROMPTS, ...(config.prompts as object), [key]: checked };
      else if (setting === null) notes.push(`${name}: ${section}.${key} has no effect`);
      else if (!unused) config[setting] = checked;
    }
  }
  return { config: config as Partial<DataConfig>, notes: notes.filter((note) => !/llm\.provider/.test(note)) };
}

function unknown(name: string, key: string, known: readonly string[]): RecipeError {
  return new RecipeError(`${name}: there is no key ${show(key)}; the keys are ${known.join(", ")}`);
}

function check(what: string, value: unknown, rule: Rule): unknown {
  if (rule.type === "text") {
    if (typeof value === "string" && value !== "") return value;
    throw new RecipeError(`${what} must be a text, not ${show(value)}`);
  }
  if (rule.type === "boolean") {
    if (typeof value === "boolean") return value;
    throw new RecipeError(`${what} must be true or false, not ${show(value)}`);
  }
  const { min, max = Number.MAX_SAFE_INTEGER, whole = false } = rule;
  if (typeof value === "number" && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  throw new RecipeError(
    `${what} must be ${whole ? "a whole number" : "a number"} ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}, not ${show(value)}`,
  );
}
