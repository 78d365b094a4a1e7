import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { renderAssistantSpans, renderChat } from "../../src/data/chat-template.ts";
import { type ByteSource, readRows } from "../../src/data/dataset.ts";
import { parsePrompt, parseRow } from "../../src/data/rows.ts";
import { decodeTests } from "../../src/data/sets/livecodebench-tests.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { DataError } from "../../src/errors.ts";
import { readEvaluation } from "../../src/eval/compare/file.ts";
import { encodeGguf } from "../../src/io/gguf/gguf.ts";
import { openGguf } from "../../src/io/gguf/read.ts";
import { downloadModel } from "../../src/io/hub/hub.ts";
import { memoryFolder, memorySource } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { encodeSafetensors, openSafetensors } from "../../src/io/safetensors.ts";
import { readTorchFile } from "../../src/io/torch-file.ts";
import { openModel } from "../../src/model/files/open.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { extractHashAnswer, extractXmlAnswer, parseFloatStrict } from "../../src/rewards/answers.ts";
import { outputFault } from "../../src/rewards/code/compare.ts";
import { extractCode } from "../../src/rewards/code/extract.ts";
import { resultOf } from "../../src/rewards/code/outcome.ts";
import { testsOf } from "../../src/rewards/code/tests.ts";
import { extractAnswer } from "../../src/rewards/maths/extract.ts";
import { grade } from "../../src/rewards/maths/grade.ts";
import { REWARDS } from "../../src/rewards/registry.ts";
import { readCompletions } from "../../src/session/completions-log.ts";
import { readMetrics } from "../../src/session/run-log.ts";
import { findCheckpoint } from "../../src/train/checkpoint.ts";
import { type Draw, mutateBytes, mutateText } from "./mutate.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tiny = (name: string) => new Uint8Array(readFileSync(`${root}/assets/tiny/${name}`));
const text = (path: string) => readFileSync(`${root}/${path}`, "utf8");
const seeds = fileURLToPath(new URL("./seeds", import.meta.url));
const maybe = (seed: string, draw: Draw, whole = 0.5): string => (draw() < whole ? seed : mutateText(seed, draw));
const pick = <T>(draw: Draw, from: readonly T[]): T => from[Math.floor(draw() * from.length)];

async function drain(source: ByteSource): Promise<void> {
  for await (const row of readRows(source)) void row;
}

async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const piece of pieces) parts.push(piece);
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const f32 = (n: number) => new Uint8Array(new Float32Array(n).fill(0.5).buffer);
const weights = await joined(
  encodeSafetensors([
    {
      name: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
      dtype: "F32",
      shape: [2, 4],
      data: f32(8),
    },
    {
      name: "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
      dtype: "F32",
      shape: [4, 2],
      data: f32(8),
    },
  ]),
);
const gguf = await joined(
  encodeGguf(
    [
      ["general.architecture", { type: "string", value: "qwen2" }],
      ["qwen2.block_count", { type: "u32", value: 1 }],
      ["tokenizer.ggml.tokens", { type: "strings", value: ["a", "b"] }],
      ["tokenizer.ggml.token_type", { type: "i32s", value: [1, 3] }],
    ],
    [{ name: "a.weight", type: "F32", shape: [2, 4], data: [f32(8)] }],
  ),
);
const torch = new Uint8Array(readFileSync(`${seeds}/adapter_model.bin`));
const parquets = readdirSync(seeds)
  .filter((name) => name.endsWith(".parquet"))
  .map((name) => new Uint8Array(readFileSync(`${seeds}/${name}`)));
const adapterConfig = JSON.stringify({
  peft_type: "LORA",
  task_type: "CAUSAL_LM",
  base_model_name_or_path: "tiny",
  r: 2,
  lora_alpha: 4,
  lora_dropout: 0,
  bias: "none",
  target_modules: ["q_proj"],
  rank_pattern: {},
  alpha_pattern: {},
  use_rslora: false,
  fan_in_fan_out: false,
  modules_to_save: null,
});

const talks = [
  '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "4", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 20.0, "big": 9007199254740993}}}]}], "tools": [{"type": "function", "function": {"name": "f"}}]}',
  '{"conversations": [{"from": "human", "value": "Q"}, {"from": "function_call", "value": "{\\"name\\": \\"f\\", \\"arguments\\": {}}"}, {"from": "observation", "value": "1"}, {"from": "gpt", "value": "1"}], "system": "S"}',
  '{"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "completion": [{"role": "assistant", "content": "b"}], "chat_template_kwargs": {"enable_thinking": false}}',
  '{"instruction": "a", "input": "b", "output": "c", "history": [["x", "y"]]}',
  '{"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "completion_mask": [0, 1, 1]}',
  '{"question": "1+1?", "answer": "#### 2", "text": "x", "verification_info": "{\\"test_cases\\": [{\\"input\\": \\"1\\", \\"output\\": \\"2\\", \\"fn_name\\": null}]}"}',
];
const jsonl = `${talks.join("\n")}\n`;
const csv = ',prompt,completion\n0,"Tom has ""3""?",3\n1,"a\nb",5" x\n';
const templates = [
  (JSON.parse(text("assets/tiny/tokenizer_config.json")) as { chat_template: string }).chat_template,
  "{% set ns = namespace(l=[1]) %}{% for i in range(20) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
  "{%- for m in messages %}{%- if m.role == 'assistant' %}{%- generation %}{{- m.content | trim }}{%- endgeneration %}{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1].lstrip('\\n') }}{%- endif %}{%- for t in m.tool_calls or [] %}{{ t.function.arguments | tojson(indent=2) }}{{ t.function.name | upper | replace('a', 'bb') }}{% endfor %}{%- endfor %}{% macro f(x) %}{{ x ~ x }}{% endmacro %}{{ f(f('a')) }}{{ [1, 2] | join(', ') }}",
];
const turns = [
  { role: "user", content: "Hi there" },
  {
    role: "assistant",
    content: "<think>\nx\n</think>\n\nHello",
    tool_calls: [{ function: { name: "f", arguments: { x: 1.5 } } }],
  },
];
const answers = [
  "\\frac{1}{2}",
  "x^2+2x+1",
  "\\{1,2,3\\}",
  "[0,\\infty)",
  "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
  "2025!/2023!",
  "\\sqrt{10^{12}+1}",
  "e^{25}-1",
  "3\\text{ cm}",
  "12:30",
  "\\sum_{k=1}^{100} k",
  "\\binom{10}{3}",
  "\\int_0^1 x dx",
  "x=2 \\text{ or } x=-3",
  "1,234,567.89",
  "50\\%",
  "\\mathbf{v}",
  "\\sin(\\pi/6)^2",
  "10^{100}",
  "(a+b)(a-b)",
  "\\log_2 8",
];
const completions = [
  "<think>\nFirst, 1+1.\n</think>\n\nThe answer is $\\boxed{\\frac{1}{2}}$.\n",
  "<reasoning>\na\n</reasoning>\n<answer>\n42\n</answer>\n",
  "```python\nprint(1)\n```\n#### 12",
  "Step 1: x\n2. y\n\nHence **7**",
];
const evaluation = JSON.stringify({
  results: { model_type: "m", dataset: "d", n: 1, accuracy: 0.5 },
  records: {
    "0": {
      problem: "1+1?",
      ground_truth: "2",
      responses: ["2"],
      is_correct: true,
      n_correct: 1,
      n_total: 1,
      source_dataset: "d",
      original_id: "0",
    },
  },
});
const state = JSON.stringify({
  global_step: 2,
  max_steps: 4,
  epoch: 1,
  num_input_tokens_seen: 9,
  best_metric: null,
  best_model_checkpoint: null,
  log_history: [{ step: 1, loss: 2.5 }],
  qwench: { version: 1, seed: 1, fingerprint: 3, since_log: { loss: 1 }, tuning: {} },
});
const recipes = readdirSync(`${root}/recipes`)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => text(`recipes/${name}`));
const HUB_FILE = '{"model_type": "qwen2"}';
const listing = [
  {
    type: "file",
    oid: createHash("sha1").update(`blob ${HUB_FILE.length}\0${HUB_FILE}`).digest("hex"),
    size: HUB_FILE.length,
    path: "config.json",
  },
  {
    type: "file",
    oid: "b".repeat(40),
    size: HUB_FILE.length,
    path: "model.safetensors",
    lfs: { oid: createHash("sha256").update(HUB_FILE).digest("hex"), size: HUB_FILE.length, pointerSize: 3 },
  },
];

/** Runs a parser on one mutated input, chosen by the given random numbers. Throws the parser's errors. */
type ParserCase = (draw: Draw) => unknown;

/** Gzips the bytes and then damages half of the results. */
function packed(bytes: Uint8Array, draw: Draw): Uint8Array {
  const made = new Uint8Array(gzipSync(bytes));
  return draw() < 0.5 ? made : mutateBytes(made, draw);
}

const rows =
  (name: string, seed: string | Uint8Array, pack = false): ParserCase =>
  (draw) => {
    const made = typeof seed === "string" ? new TextEncoder().encode(mutateText(seed, draw)) : mutateBytes(seed, draw);
    return drain(memorySource(name, pack ? packed(made, draw) : made));
  };

async function folderOf(files: Record<string, string | Uint8Array>) {
  const folder = memoryFolder("model");
  for (const [name, content] of Object.entries(files)) await folder.write(name, content as Uint8Array);
  return folder;
}
const tinyFiles = { "config.json": text("assets/tiny/config.json"), "model.safetensors": tiny("model.safetensors") };

const shardIndex = JSON.stringify({
  metadata: { total_size: tinyFiles["model.safetensors"].length },
  weight_map: Object.fromEntries(
    [...(await openSafetensors(memorySource("m.safetensors", tinyFiles["model.safetensors"]))).tensors.keys()].map(
      (name) => [name, "model-00001-of-00001.safetensors"],
    ),
  ),
});
const logs = '{"step":20,"loss":0.5,"learning_rate":1e-4,"epoch":0.25}\n{"step":40,"loss":null,"reward":2}\n';
const drawn =
  '{"step": 1, "prompt": "p", "completion": "c", "xmlcount_reward_func": 0.5, "advantage": -1.5, "finish_reason": "stop", "length": 3}\n';

/** Every parser of what others write. */
export const PARSERS: Readonly<Record<string, ParserCase>> = {
  safetensors: async (draw) => {
    const file = await openSafetensors(memorySource("a.safetensors", mutateBytes(weights, draw)));
    for (const name of file.tensors.keys()) await file.read(name);
  },
  gguf: (draw) => openGguf(memorySource("a.gguf", mutateBytes(gguf, draw))),
  torch: (draw) => {
    for (const { bytes } of readTorchFile(mutateBytes(torch, draw), "a.bin").values() as Iterable<{ bytes?: unknown }>)
      void bytes;
  },
  jsonl: rows("a.jsonl", jsonl),
  json: rows("a.json", `[${talks.join(",\n")}]`),
  csv: rows("a.csv", csv),
  tsv: rows("a.tsv", csv.replaceAll(",", "\t")),
  gzip: rows("a.jsonl.gz", jsonl, true),
  parquet: (draw) => drain(memorySource("a.parquet", mutateBytes(pick(draw, parquets), draw))),
  yaml: (draw) => parseRecipeYaml(mutateText(pick(draw, recipes), draw), "r.yaml", draw() < 0.5 ? "sft" : "grpo"),
  flags: (draw) =>
    parseRecipe(
      {
        [mutateText("learning_rate", draw)]: mutateText("1e-4", draw),
        lora_target_modules: mutateText("q_proj v_proj", draw),
      },
      "sft",
    ),
  tokenizer: (draw) => {
    const tokenizerJson = mutateText(text("assets/tiny/tokenizer.json"), draw);
    const tokenizerConfig = maybe(text("assets/tiny/tokenizer_config.json"), draw);
    const tokenizer = loadTokenizer({ tokenizerJson, tokenizerConfig });
    tokenizer.decode(tokenizer.encode(`Tom has 3 apples.\n\n ${"a".repeat(2000)}b <|im_end|> é`));
  },
  template: (draw) => {
    const template = mutateText(pick(draw, templates), draw);
    renderChat(template, turns, { add_generation_prompt: true, tools: [{ name: "f" }] });
    renderAssistantSpans(template, turns);
  },
  config: async (draw) =>
    openModel(await folderOf({ ...tinyFiles, "config.json": mutateText(tinyFiles["config.json"], draw) })),
  index: async (draw) =>
    openModel(
      await folderOf({
        "config.json": tinyFiles["config.json"],
        "model-00001-of-00001.safetensors": tinyFiles["model.safetensors"],
        "model.safetensors.index.json": maybe(shardIndex, draw, 0.02),
      }),
    ),
  adapter: async (draw) => {
    const half = draw() < 0.5;
    const file: Record<string, Uint8Array> =
      draw() < 0.5
        ? { "adapter_model.bin": half ? torch : mutateBytes(torch, draw) }
        : { "adapter_model.safetensors": half ? weights : mutateBytes(weights, draw) };
    const adapter = await readAdapter(
      await folderOf({ "adapter_config.json": half ? mutateText(adapterConfig, draw) : adapterConfig, ...file }),
    );
    for (const name of adapter.tensors.keys()) await adapter.read(name);
  },
  hub: async (draw) => {
    const answer = (body: string) =>
      new Response(body, { status: 200, headers: { "content-type": "application/json" } });
    const about = JSON.stringify({
      id: "o/n",
      sha: "d".repeat(40),
      private: false,
      gated: false,
      downloads: 1,
      likes: 1,
      lastModified: "2024-01-01T00:00:00Z",
      modelId: "o/n",
      _id: "x",
    });
    const [first, second] =
      draw() < 0.5
        ? [mutateText(about, draw), JSON.stringify(listing)]
        : [about, mutateText(JSON.stringify(listing), draw)];
    const get = async (input: unknown) => {
      const url = String(input instanceof Request ? input.url : input);
      if (url.includes("/resolve/")) return new Response(HUB_FILE, { status: 200 });
      return answer(url.includes("/tree/") ? second : first);
    };
    await downloadModel("o/n", {
      cache: memoryFolder("cache"),
      fetch: get as typeof fetch,
      retry: { attempts: 1, baseDelayMs: 0, maxDelayMs: 0 },
    });
  },
  trainer_state: async (draw) => {
    const output = memoryFolder("out");
    const checkpoint = output.folder("checkpoint-2");
    const which = Math.floor(draw() * 3);
    await checkpoint.write("trainer_state.json", which === 0 ? mutateText(state, draw) : state);
    await checkpoint.write("optimizer.safetensors", which === 1 ? mutateBytes(weights, draw) : weights);
    await checkpoint.write("adapter_model.safetensors", which === 2 ? mutateBytes(weights, draw) : weights);
    await findCheckpoint(output, true);
  },
  rows: (draw) => {
    let row: Record<string, unknown>;
    try {
      row = JSON.parse(mutateText(pick(draw, talks), draw));
    } catch {
      throw new DataError("not JSON: another parser covers this case");
    }
    const source = { row, number: 1, file: "a.jsonl" };
    const system_prompt = draw() < 0.5 ? "S" : null;
    if (draw() < 0.5) parseRow(source, { system_prompt });
    else parsePrompt(source, { system_prompt });
  },
  grader: (draw) =>
    grade(
      draw() < 0.3 ? pick(draw, answers) : mutateText(pick(draw, answers), draw),
      mutateText(pick(draw, answers), draw),
    ),
  completions: async (draw) => {
    const completion = mutateText(pick(draw, completions), draw);
    extractAnswer(completion);
    extractCode(completion);
    extractHashAnswer(completion);
    parseFloatStrict(extractXmlAnswer(completion));
    for (const [name, make] of Object.entries(REWARDS)) {
      if (/code(_reward)?$|judge|overlong|token/.test(name)) continue;
      const reward = make({}, {});
      await reward(["Q"], [completion], { answer: ["42"], solution: ["42"] }, {
        step: 1,
        completion_ids: [[1, 2]],
        signal: new AbortController().signal,
      } as never);
    }
  },
  code_tests: (draw) => {
    const tests = mutateText('[{"input": "1\\n", "output": "2\\n", "testtype": "stdin"}]', draw);
    testsOf(
      draw() < 0.5
        ? { public_test_cases: tests, private_test_cases: "[]" }
        : {
            verification_info: mutateText(
              '{"test_cases": [{"fn_name": "f", "input": [1, 2.0], "output": [9007199254740993]}]}',
              draw,
            ),
          },
    );
    outputFault(mutateText("1 2.50\n3e5\n", draw), mutateText("1 2.5\n300000\n", draw));
  },
  packed_tests: (draw) =>
    decodeTests(mutateText(PACKED, draw)).catch((error) => Promise.reject(new DataError((error as Error).message))),
  sandbox: (draw) => {
    const answer = JSON.stringify({ stage: "done", error: null, value: { int: "12" }, secret: "s" });
    const report = { answer: mutateText(answer, draw), output: mutateText("12\n", draw), ms: 3 };
    resultOf({ kind: "call", name: "f", args: "[]", expected: ["12"] }, report as never, { output_bytes: 1000 }, "s");
  },
  metrics: (draw) => readMetrics(mutateText(logs, draw), "metrics.jsonl"),
  completions_log: (draw) => readCompletions(mutateText(drawn.repeat(3), draw), "completions_00001.jsonl"),
  evaluation: (draw) => readEvaluation(mutateText(evaluation, draw), "e.json"),
};

/** `[{"input": "1", "output": "2"}]` in LiveCodeBench's encoding: pickle, zlib, base64. */
const PACKED = "eJxrYJlqwQABPSbR1UqZeQWlJUpWCkqGSjoKSvmlJVCuEYhbklpcUlJZkAoSKC5JycxTqo2dogcAOgkSqg==";
