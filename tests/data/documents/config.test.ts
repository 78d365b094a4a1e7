import { describe, expect, it } from "vitest";
import { parseDataConfig } from "../../../src/data/documents/config.ts";

/** What Unsloth's SyntheticDataKit writes. */
const UNSLOTH = `
paths:
  input: {pdf: data/pdf, html: data/html, youtube: data/youtube, docx: data/docx, ppt: data/ppt, txt: data/txt}
  output: {parsed: data/output, generated: data/generated, cleaned: data/cleaned, final: data/final}
vllm:
  api_base: "http://localhost:8000/v1"
  port: 8000
  model: "unsloth/Llama-3.2-3B-Instruct"
  max_retries: 3
  retry_delay: 1.0
ingest: {default_format: txt, youtube_captions: auto}
generation: {temperature: 0.7, top_p: 0.95, chunk_size: 2048, overlap: 64, max_tokens: 512, num_pairs: 25}
cleanup: {threshold: 1.0, batch_size: 4, temperature: 0.3}
format: {default: jsonl, include_metadata: true, pretty_json: true}
prompts:
  summary: Summarize this document in 3-5 sentences.
  qa_generation: "Create {num_pairs} question-answer pairs: {text}"
  qa_rating: "Rate: {pairs}"
`;

describe("synthetic-data-kit's config", () => {
  it("is read as Unsloth writes it", () => {
    const { config, notes } = parseDataConfig(UNSLOTH, "c.yaml");
    expect(config).toMatchObject({
      api_base: "http://localhost:8000/v1",
      model: "unsloth/Llama-3.2-3B-Instruct",
      ...{ max_retries: 3, retry_delay: 1, temperature: 0.7, top_p: 0.95, max_seq_length: 2048, overlap: 64 },
      ...{ max_generation_tokens: 512, num_pairs: 25, threshold: 1, curate_batch_size: 4, curate_temperature: 0.3 },
      ...{ format: "jsonl", include_metadata: true },
    });
    expect(config.prompts?.qa_rating).toBe("Rate: {pairs}");
    expect(config.prompts?.qa_support).toContain("support"); // ours stays
    expect(notes.join("\n")).toMatch(/paths has no effect/);
  });

  it("takes the section that llm.provider names", () => {
    const yaml =
      "llm: {provider: api-endpoint}\nvllm: {model: a, api_base: http://a}\napi-endpoint: {model: b, api_base: http://b, api_key: null}\n";
    expect(parseDataConfig(yaml, "c.yaml").config).toMatchObject({ model: "b", api_base: "http://b" });
    expect(parseDataConfig(yaml.replace("llm: {provider: api-endpoint}", ""), "c.yaml").config.model).toBe("a");
  });

  it.each([
    [
      "generation: {num_pear: 3}",
      'c.yaml: there is no key "generation.num_pear"; the keys are temperature, top_p, chunk_size',
    ],
    ["generations: {}", 'there is no key "generations"; the keys are llm, vllm, api-endpoint, ingest, generation'],
    ["generation: {num_pairs: 0}", "generation.num_pairs must be a whole number from 1 to 1000, not 0"],
    ["generation: {top_p: high}", 'generation.top_p must be a number from 0 to 1, not "high"'],
    ["api-endpoint: {api_key: sk-1}", "api-endpoint.api_key must not be in a file"],
    ["curate: 7", "curate must be a map, not 7"],
    ["- a", "must be a map of sections"],
    ["a: [", "Cannot read c.yaml as YAML"],
    ["constructor: {a: 1}", 'there is no key "constructor"'],
  ])("refuses %s", (yaml, message) => {
    expect(() => parseDataConfig(yaml, "c.yaml")).toThrow(message);
  });
});
