import { describe, expect, it } from "vitest";
import { configOf, SPECS } from "../../scripts/random-checkpoint.ts";
import { FormatError, UnsupportedError } from "../../src/errors.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { inverseFrequencies, rotaryTable } from "../../src/model/layers/rope.ts";

const base = (): Record<string, unknown> => configOf(SPECS["qwen2.5-0.5b"]);
const parse = (over: Record<string, unknown> = {}) => parseModelConfig({ ...base(), ...over }, "m/config.json");

describe("parseModelConfig", () => {
  it("reads Qwen2.5 and Qwen3", () => {
    expect(parse()).toEqual({
      model_type: "qwen2",
      hidden_size: 896,
      intermediate_size: 4864,
      num_hidden_layers: 24,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      head_dim: 64,
      vocab_size: 151_936,
      max_position_embeddings: 32_768,
      rms_norm_eps: 1e-6,
      rope_theta: 1_000_000,
      rotary_dim: 64,
      rope_scaling: null,
      tie_word_embeddings: true,
      attention_bias: false,
      layer_types: null,
      delta: null,
      mrope_section: null,
      vision: null,
    });
    const qwen3 = parseModelConfig(configOf(SPECS["qwen3-0.6b"]));
    expect(qwen3).toMatchObject({ model_type: "qwen3", head_dim: 128, attention_bias: false });
  });

  it("reads rope_theta in both spellings, with default 10000", () => {
    const { rope_theta: _, ...without } = base();
    expect(parseModelConfig(without).rope_theta).toBe(10_000);
    const nested = { ...without, rope_parameters: { rope_theta: 5e5, rope_type: "default" } };
    expect(parseModelConfig(nested)).toMatchObject({ rope_theta: 5e5, rope_scaling: null });
    expect(parse({ rope_theta: 5e5 })).toEqual(parseModelConfig(nested));
    const yarn = { rope_type: "yarn", factor: 2, original_max_position_embeddings: 4096 };
    expect(parseModelConfig({ ...without, rope_parameters: { ...yarn, rope_theta: 5e5 } })).toEqual(
      parse({ rope_theta: 5e5, rope_scaling: yarn }),
    );
  });

  it.each([
    [
      { model_type: "llama" },
      /model_type is "llama"; Qwench implements qwen2 .*, qwen3 \(dense Qwen3\), .* and qwen3_5_text/,
    ],
    [{ model_type: undefined }, /model_type is nothing/],
    [{ model_type: "qwen3_moe" }, /model_type is "qwen3_moe"/],
    [{ hidden_act: "gelu" }, /hidden_act is "gelu"; it must be "silu"/],
    [
      { use_sliding_window: true, sliding_window: 64, max_window_layers: 1 },
      /use_sliding_window is true; it must be false/,
    ],
    [{ attention_dropout: 0.1 }, /attention_dropout is 0\.1; it must be 0/],
    [
      { quantization_config: { quant_method: "gptq" } },
      /quantization_config is \{"quant_method":"gptq"\}; it must be absent/,
    ],
    [{ num_experts: 8 }, /num_experts is 8; .* mixture-of-experts/],
    [{ layer_types: ["full_attention", "sliding_attention"] }, /layer_types is .*; it must be all "full_attention"/],
    [
      { rope_scaling: { type: "linear", factor: 2 } },
      /rope_scaling type is "linear"; "default" and "yarn" are implemented/,
    ],
    [{ rope_scaling: { rope_type: "dynamic", factor: 2 } }, /rope_scaling type is "dynamic"/],
    [{ head_dim: 63 }, /head_dim is 63 .*multiple of 4/],
  ])("refuses %j by name", (over, message) => {
    expect(() => parse(over)).toThrow(UnsupportedError);
    expect(() => parse(over)).toThrow(message);
    expect(() => parse(over)).toThrow(/^Cannot load m\/config\.json: /);
  });

  it.each([
    [{ hidden_size: 0 }, /hidden_size must be a positive integer, got 0/],
    [{ hidden_size: "896" }, /hidden_size must be a positive integer, got "896"/],
    [{ vocab_size: undefined }, /vocab_size must be a positive integer, got nothing/],
    [{ num_hidden_layers: 2.5 }, /num_hidden_layers must be a positive integer, got 2\.5/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000; it must be at most 4096/],
    [{ num_key_value_heads: 3 }, /num_attention_heads 14 is not a multiple of num_key_value_heads 3/],
    [{ rope_theta: 0 }, /rope_theta must be a number above 1, got 0/],
    [{ rms_norm_eps: -1 }, /rms_norm_eps must be a positive number, got -1/],
    [{ rope_scaling: { type: "yarn" } }, /rope_scaling\.factor must be a positive number, got nothing/],
  ])("refuses the size or number in %j", (over, message) => {
    expect(() => parse(over)).toThrow(FormatError);
    expect(() => parse(over)).toThrow(message);
  });
});

describe("rotary frequencies", () => {
  const yarn = parse({ rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32_768 } });

  it("are θ^(−2i/d) without scaling", () => {
    const frequencies = inverseFrequencies(parse());
    expect(frequencies).toHaveLength(32);
    for (const [i, f] of frequencies.entries()) expect(Math.abs(f * 1e6 ** ((2 * i) / 64) - 1)).toBeLessThan(1e-6);
  });

  it("with Qwen2.5's YaRN setting keep frequencies that rotate often, divide by 4 those that rotate less than once, and ramp between", () => {
    const plain = inverseFrequencies(parse());
    const got = inverseFrequencies(yarn);
    const turns = (i: number) => (32_768 * 1e6 ** ((-2 * i) / 64)) / (2 * Math.PI);
    /** index (not an integer) of the dimension that rotates this often over the original context, by bisection */
    const indexOf = (wanted: number) => {
      let [low, high] = [0, 64];
      for (let n = 0; n < 80; n++)
        turns((low + high) / 2) > wanted ? (low = (low + high) / 2) : (high = (low + high) / 2);
      return low;
    };
    const [first, last] = [Math.floor(indexOf(32)), Math.ceil(indexOf(1))];
    let ramped = 0;
    for (let i = 0; i < 32; i++) {
      if (turns(i) > 32) expect(Math.abs(got[i] / plain[i] - 1), `${i}`).toBeLessThan(0.05);
      if (i <= first) expect(got[i], `${i}`).toBe(plain[i]);
      else if (i >= last) expect(Math.abs((got[i] * 4) / plain[i] - 1), `${i}`).toBeLessThan(1e-6);
      else {
        const stretched = (i - first) / (last - first);
        const want = plain[i] * (1 - stretched) + (plain[i] / 4) * stretched;
        expect(Math.abs(got[i] / want - 1), `${i}`).toBeLessThan(1e-6);
        ramped++;
      }
    }
    expect(ramped).toBeGreaterThan(3);
  });

  it("YaRN scales cosines and sines by 0.1·ln(factor) + 1, or by attention_factor", () => {
    expect(yarn.rope_scaling!.attention_factor).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
    const table = rotaryTable(yarn, 3);
    expect(table).toHaveLength(3 * 64);
    expect(table[0]).toBeCloseTo(1.138629436, 6);
    expect(table[32]).toBe(0);
    const [c, s] = [table[64], table[96]];
    expect(Math.hypot(c, s)).toBeCloseTo(1.138629436, 6);
    expect(Math.atan2(s, c)).toBeCloseTo(1, 6);
    const given = parse({ rope_scaling: { rope_type: "yarn", factor: 4, attention_factor: 0.5 } });
    expect(rotaryTable(given, 1)[0]).toBeCloseTo(0.5, 7);
    expect(given.rope_scaling!.original_max_position_embeddings).toBe(32_768);
  });

  it("a factor of 1 changes nothing", () => {
    const one = parse({ rope_scaling: { type: "yarn", factor: 1, original_max_position_embeddings: 32_768 } });
    const [got, plain] = [rotaryTable(one, 50), rotaryTable(parse(), 50)];
    expect(Math.max(...got.map((v, i) => Math.abs(v - plain[i])))).toBeLessThan(1e-5);
  });
});
