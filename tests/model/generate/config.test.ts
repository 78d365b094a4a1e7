import { describe, expect, it } from "vitest";
import { parseGenerationConfig, samplingOf } from "../../../src/model/generate/config.ts";

// Qwen2.5-0.5B-Instruct's own file
const QWEN = {
  bos_token_id: 151643,
  pad_token_id: 151643,
  do_sample: true,
  eos_token_id: [151645, 151643],
  repetition_penalty: 1.1,
  temperature: 0.7,
  top_p: 0.8,
  top_k: 20,
  transformers_version: "4.37.0",
};

describe("generation_config.json", () => {
  it("has sampling settings, with transformers' defaults", () => {
    expect(parseGenerationConfig(QWEN)).toEqual({
      do_sample: true,
      temperature: 0.7,
      top_k: 20,
      top_p: 0.8,
      min_p: 0,
      repetition_penalty: 1.1,
      max_new_tokens: null,
      stop_strings: [],
      ignored: [],
    });
    expect(parseGenerationConfig({ top_k: null, max_new_tokens: 2048 })).toMatchObject({
      do_sample: false,
      temperature: 1,
      top_k: 50,
      top_p: 1,
      max_new_tokens: 2048,
    });
    expect(parseGenerationConfig({ stop_strings: "\n\n" }).stop_strings).toEqual(["\n\n"]);
  });

  it("lists settings that are not implemented", () => {
    const json = { num_beams: 4, typical_p: 1, no_repeat_ngram_size: 3, suppress_tokens: null, bad_words_ids: [[7]] };
    expect(parseGenerationConfig(json).ignored).toEqual(["num_beams", "no_repeat_ngram_size", "bad_words_ids"]);
  });

  it.each([
    [{ temperature: "hot" }, 'temperature must be a number of at least 0, got "hot"'],
    [{ top_k: 1.5 }, "top_k must be a whole number, got 1.5"],
    [{ top_p: 2 }, "top_p must be between 0 and 1, got 2"],
    [{ repetition_penalty: 0 }, "repetition_penalty must be a number above 0, got 0"],
    [{ max_new_tokens: 0 }, "max_new_tokens must be a whole number above 0, got 0"],
    [{ stop_strings: ["a", ""] }, 'stop_strings must hold texts that are not empty, got ["a",""]'],
  ])("refuses %j", (json, text) => {
    expect(() => parseGenerationConfig(json, "m/generation_config.json")).toThrow(
      `Cannot use m/generation_config.json: ${text}`,
    );
  });
});

describe("sampling", () => {
  const greedy = parseGenerationConfig({});
  const sampled = parseGenerationConfig(QWEN);

  it("follows the file, but a request takes precedence", () => {
    const { do_sample: _, max_new_tokens: __, stop_strings: ___, ignored: ____, ...own } = sampled;
    expect(samplingOf(sampled, {})).toEqual(own);
    expect(samplingOf(sampled, { top_k: 0, temperature: 0 })).toEqual({ ...own, top_k: 0, temperature: 0 });
    expect(samplingOf(greedy, {}).temperature).toBe(0);
  });

  it("samples if the request has a sampling setting", () => {
    expect(samplingOf(greedy, { temperature: 0.5 }).temperature).toBe(0.5);
    for (const asked of [{ top_k: 5 }, { top_p: 0.9 }, { min_p: 0.1 }]) {
      expect(samplingOf(greedy, asked)).toMatchObject({ temperature: 1, ...asked });
    }
    expect(samplingOf(greedy, { repetition_penalty: 1.2 })).toMatchObject({ temperature: 0, repetition_penalty: 1.2 });
  });
});
