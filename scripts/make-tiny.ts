// `npm run make:tiny`: makes the embedded model of assets/tiny from a seed: corpus, tokenizer, weights. Continues an
// interrupted call. Takes about 40 minutes on two cores. With --architecture qwen3_5_text, the same of a
// Qwen3.5. With qwen3_5, one with a vision tower and random weights, in a second: it learns to read from `npm run make:ocr`. The same seed gives the same model, except for the last bits of sums,
// which depend on the adapter.
import { parseArgs } from "node:util";
import { main } from "../src/cli/main.ts";
import { openGpu } from "../src/cli/runs/open-gpu.ts";
import { embeddedPreferences, embeddedRows } from "../src/data/sets/embedded.ts";
import { accuracy, passAtK, solve } from "../src/eval/solve.ts";
import { openCheckpoint } from "../src/io/checkpoint.ts";
import { f32ToBf16 } from "../src/io/dtype.ts";
import { bytesOf, encodeSafetensors, type TensorData, tensorBytes, toFloat32 } from "../src/io/safetensors.ts";
import type { Folder } from "../src/io/storage.ts";
import { loadModel } from "../src/model/files/load.ts";
import { nodeFolder } from "../src/platform/node/fs.ts";
import { openTokenizer } from "../src/session/tokenizer.ts";
import { formatNumber, formatShare } from "../src/text/numbers.ts";
import { checkpointNames } from "../src/train/checkpoint.ts";
import { writeRandomCheckpoint } from "./random-checkpoint.ts";
import { type CorpusRow, tinyCorpus } from "./tiny-corpus.ts";
import { type TinyArchitecture, tinyConfig, tinySpec, tinyTokenizer } from "./tiny-files.ts";
import { writeTinyVision } from "./tiny-vision.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    rows: { type: "string", default: "160000" },
    architecture: { type: "string", default: "qwen2" },
    work: { type: "string", default: "qwench-tiny" },
    output: { type: "string" },
  },
});
const { architecture } = values;
if (!["qwen2", "qwen3_5_text", "qwen3_5"].includes(architecture)) {
  throw new Error(
    `Cannot make a tiny model: --architecture is ${architecture}; it must be qwen2, qwen3_5_text or qwen3_5`,
  );
}
const seed = Number(values.seed);
const work = nodeFolder(values.work);
// only the embedded model has its place in the repository
const output = nodeFolder(values.output ?? (architecture === "qwen2" ? "assets/tiny" : `${values.work}/made`));

/** Number of rows for training the tokenizer. */
const TOKENIZER_ROWS = 20_000;
const BATCH = 32;

const FLAGS = {
  use_peft: false,
  gradient_checkpointing: false,
  dtype: "float32",
  max_length: 128,
  // the corpus is ordered, with the textbook first
  train_sampling_strategy: "sequential",
  per_device_train_batch_size: BATCH,
  num_train_epochs: 1,
  learning_rate: 2e-3,
  lr_scheduler_type: "cosine",
  warmup_steps: 200,
  adam_beta2: 0.98,
  weight_decay: 0.01,
  eval_strategy: "steps",
  eval_steps: 1000,
  per_device_eval_batch_size: BATCH,
  logging_steps: 100,
  save_steps: 500,
  save_total_limit: 2,
  seed,
};

const jsonLines = (rows: readonly object[]) => `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`;

/** Writes corpus, tokenizer and first weights. */
async function prepare(rows: readonly CorpusRow[]): Promise<void> {
  const texts = rows
    .slice(0, TOKENIZER_ROWS)
    .flatMap(({ prompt, completion }) => [...prompt, ...completion].map(({ role, content }) => `${role}\n${content}`));
  const { vocab_size, files } = tinyTokenizer(texts, 640, 40);
  const model = work.folder("model");
  const spec = tinySpec(vocab_size, architecture as TinyArchitecture);
  await writeRandomCheckpoint(model, spec, seed);
  const own = { ...files, "config.json": tinyConfig(spec) };
  for (const [name, text] of Object.entries(own)) await model.write(name, text);
  await work.folder("corpus").write("test.jsonl", jsonLines(tinyCorpus(seed, 1024, "test")));
  await work.folder("corpus").write("train.jsonl", jsonLines(rows));
}

/** Writes the trained f32 weights as a bf16 checkpoint with its tokenizer. @returns bytes of the weights */
async function publish(trained: Folder, to: Folder): Promise<number> {
  const model = work.folder("model");
  for (const name of (await model.list()).filter((file) => file.endsWith(".json"))) {
    await to.write(name, await model.readText(name));
  }
  const { tensors, read } = await openCheckpoint(trained);
  const rounded: TensorData[] = [];
  for (const { name, shape } of tensors.values()) {
    const data = bytesOf(f32ToBf16(toFloat32(await read(name), "F32")));
    rounded.push({ name, shape, dtype: "BF16", data });
  }
  await to.write("model.safetensors", encodeSafetensors(rounded, { format: "pt" }));
  return rounded.reduce((sum, { shape }) => sum + tensorBytes("BF16", shape), 0);
}

/** @returns the exit code */
async function make(): Promise<number> {
  if (architecture === "qwen3_5") {
    const bytes = await writeTinyVision(output, seed);
    console.log(`${formatNumber(bytes / 2)} random parameters, ${formatNumber(bytes)} bytes, in ${output.path}`);
    return 0;
  }
  if (!(await work.folder("corpus").exists("train.jsonl"))) {
    console.error(`Writing ${values.rows} rows of corpus to ${work.path} …`);
    await prepare(tinyCorpus(seed, Number(values.rows), "train"));
  }
  const run = work.folder("run");
  const flags = {
    ...FLAGS,
    model_name_or_path: work.folder("model").path,
    dataset_name: work.folder("corpus").path,
    output_dir: run.path,
    ...((await checkpointNames(run)).length > 0 ? { resume_from_checkpoint: true } : { overwrite_output_dir: true }),
  };
  const code = await main(["sft", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)])]);
  if (code !== 0) return code;
  const bytes = await publish(run, output);
  await publishProblems(output);
  console.log(`${formatNumber(bytes / 2)} parameters, ${formatNumber(bytes)} bytes, in ${output.path}`);
  await measure(output);
  return 0;
}

/** Writes the default training rows of the commands, and the held-out rows. */
async function publishProblems(folder: Folder): Promise<void> {
  for (const split of ["train", "test"] as const) {
    await folder.write(`problems/${split}.jsonl`, jsonLines(embeddedRows(split)));
    await folder.write(`preferences/${split}.jsonl`, jsonLines(embeddedPreferences(split)));
  }
}

/** Prints the model's score on the held-out problems. */
async function measure(folder: Folder): Promise<void> {
  const { gpu } = await openGpu();
  const model = await loadModel(gpu, await openCheckpoint(folder));
  const tokenizer = (await openTokenizer(folder))!;
  const problems = embeddedRows("test");
  const greedy = await solve(model, tokenizer, problems, { max_new_tokens: 48 });
  const sampled = await solve(model, tokenizer, problems, { max_new_tokens: 48, temperature: 1, samples: 8, seed });
  const passes = sampled.map(({ right }) => passAtK(8, right.filter(Boolean).length, 8));
  console.log(
    `On ${problems.length} held-out problems: greedy ${formatShare(accuracy(greedy), 1)}, sampled ${formatShare(accuracy(sampled), 1)}, pass@8 ${formatShare(passes.reduce((a, b) => a + b) / passes.length, 1)}`,
  );
}

make().then((code) => {
  process.exitCode = code;
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
});
