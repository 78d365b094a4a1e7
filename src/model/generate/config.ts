import { FormatError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { SamplingOptions } from "./generate.ts";

/** What a checkpoint's generation_config.json says about drawing tokens; what it leaves out is as in transformers. */
export interface GenerationDefaults extends SamplingOptions {
  /** whether to draw at all: where false the most probable token is taken */
  do_sample: boolean;
  max_new_tokens: number | null;
  /** fields of the file that would change what is written, and are not implemented */
  ignored: string[];
}

/** Fields that change completions, with the values that do not. */
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
 * Reads a generation_config.json; an empty object stands for none.
 *
 * @throws {FormatError} a field that is not of its type
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
  return {
    do_sample: json.do_sample === true,
    temperature: number("temperature", 1, "a number of at least 0", (value) => value >= 0),
    top_k: number("top_k", 50, "a whole number", whole),
    top_p: number("top_p", 1, "between 0 and 1", share),
    min_p: number("min_p", 0, "between 0 and 1", share),
    repetition_penalty: number("repetition_penalty", 1, "a number above 0", (value) => value > 0),
    max_new_tokens: number("max_new_tokens", null, "a whole number above 0", (value) => whole(value) && value > 0),
    ignored: Object.keys(OTHERS).filter((name) => (json[name] ?? null) !== null && !OTHERS[name].includes(json[name])),
  };
}

/**
 * How to draw, given what was asked for. Asking for a temperature, or for top-k, top-p or min-p, is asking to draw where
 * the defaults would not.
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
