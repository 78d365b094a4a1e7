import { FormatError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { SamplingOptions } from "./generate.ts";

/** The sampling settings of a checkpoint's generation_config.json, with transformers' defaults. */
export interface GenerationDefaults extends SamplingOptions {
  /** false: greedy decoding, the most probable token */
  do_sample: boolean;
  max_new_tokens: number | null;
  /** texts that end a response, which includes them */
  stop_strings: string[];
  /** fields of the file that would change completions and are not implemented */
  ignored: string[];
}

/** Fields that change completions, with the values that change nothing. */
const OTHERS: Record<string, readonly unknown[]> = {
  num_beams: [1],
  no_repeat_ngram_size: [0],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  penalty_alpha: [0],
  min_length: [0],
  min_new_tokens: [0],
  guidance_scale: [1],
  bad_words_ids: [],
  sequence_bias: [],
  suppress_tokens: [],
  begin_suppress_tokens: [],
};

/**
 * Parses a generation_config.json; pass an empty object if there is no file.
 *
 * @throws {FormatError} a field of the wrong type
 * @see https://huggingface.co/docs/transformers/main_classes/text_generation
 */
export function parseGenerationConfig(
  json: Record<string, unknown>,
  file = "generation_config.json",
): GenerationDefaults {
  const number = <T>(name: string, fallback: number | T, rule: string, fits: (value: number) => boolean) => {
    const value = json[name] ?? fallback;
    if (value === fallback || (typeof value === "number" && fits(value))) return value as number | T;
    throw new FormatError(`Cannot use ${file}: ${name} must be ${rule}, got ${show(value)}`);
  };
  const share = (value: number) => value >= 0 && value <= 1;
  const whole = (value: number) => Number.isInteger(value) && value >= 0;
  const stops = typeof json.stop_strings === "string" ? [json.stop_strings] : (json.stop_strings ?? []);
  if (!Array.isArray(stops) || !stops.every((one) => typeof one === "string" && one !== "")) {
    throw new FormatError(`Cannot use ${file}: stop_strings must hold texts that are not empty, got ${show(stops)}`);
  }
  return {
    do_sample: json.do_sample === true,
    temperature: number("temperature", 1, "a number of at least 0", (value) => value >= 0),
    top_k: number("top_k", 50, "a whole number", whole),
    top_p: number("top_p", 1, "between 0 and 1", share),
    min_p: number("min_p", 0, "between 0 and 1", share),
    repetition_penalty: number("repetition_penalty", 1, "a number above 0", (value) => value > 0),
    max_new_tokens: number("max_new_tokens", null, "a whole number above 0", (value) => whole(value) && value > 0),
    stop_strings: stops,
    ignored: Object.keys(OTHERS).filter((name) => (json[name] ?? null) !== null && !OTHERS[name].includes(json[name])),
  };
}

/**
 * The sampling settings for a request. A temperature, top-k, top-p or min-p in the request turns sampling on, even if
 * the defaults are greedy.
 */
export function samplingOf(defaults: GenerationDefaults, asked: Partial<SamplingOptions>): SamplingOptions {
  const { do_sample, temperature, top_k, top_p, min_p, repetition_penalty } = defaults;
  const draws = do_sample || [asked.top_k, asked.top_p, asked.min_p].some((value) => value !== undefined);
  return {
    temperature: asked.temperature ?? (draws ? temperature : 0),
    top_k: asked.top_k ?? top_k,
    top_p: asked.top_p ?? top_p,
    min_p: asked.min_p ?? min_p,
    repetition_penalty: asked.repetition_penalty ?? repetition_penalty,
  };
}
