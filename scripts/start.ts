// `npm start`: trains a small model, made on the spot, on sums that it writes itself. No download, no checkpoint needed.
import { readFile } from "node:fs/promises";
import { main } from "../src/cli/main.ts";
import { nodeFolder } from "../src/platform/node-fs.ts";
import { uniformFrom } from "../src/train/seed.ts";
import { type CheckpointSpec, writeRandomCheckpoint } from "./random-checkpoint.ts";

const FOLDER = "qwench-start";
const STEPS = 300;

/** Characters are tokens: there is no tokenizer to load. */
const ALPHABET = "\n0123456789+=";
const SPEC: CheckpointSpec = {
  model_type: "qwen2",
  hidden_size: 64,
  intermediate_size: 192,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 16,
  tie_word_embeddings: true,
  max_position_embeddings: 64,
  initializer_range: 0.08,
};

/** `count` sums such as `7+35=42`, as rows of token ids whose labels cover the answer. */
function sums(count: number, random: () => number, seen: Set<string>): string {
  const rows: string[] = [];
  while (rows.length < count) {
    const [a, b] = [Math.floor(random() * 50), Math.floor(random() * 50)];
    const question = `${a}+${b}=`;
    if (seen.has(question)) continue;
    seen.add(question);
    const ids = [...`${question}${a + b}\n`].map((c) => ALPHABET.indexOf(c));
    rows.push(JSON.stringify({ input_ids: ids, labels: ids.map((id, i) => (i < question.length ? -100 : id)) }));
  }
  return `${rows.join("\n")}\n`;
}

async function start(): Promise<number> {
  const root = nodeFolder(FOLDER);
  console.error(`Making a model of random weights and 2,400 sums in ${FOLDER}/ …`);
  await writeRandomCheckpoint(root.folder("model"), SPEC, 0);
  const seen = new Set<string>();
  const random = uniformFrom(1);
  await root.folder("sums").write("train.jsonl", sums(2100, random, seen));
  await root.folder("sums").write("test.jsonl", sums(300, random, seen));
  const flags = {
    model_name_or_path: `${FOLDER}/model`,
    dataset_name: `${FOLDER}/sums`,
    output_dir: `${FOLDER}/run`,
    overwrite_output_dir: true,
    use_peft: false,
    dtype: "float32",
    max_steps: STEPS,
    per_device_train_batch_size: 64,
    per_device_eval_batch_size: 300,
    learning_rate: 5e-3,
    lr_scheduler_type: "cosine",
    warmup_steps: 20,
    weight_decay: 0.01,
    logging_steps: 20,
    eval_strategy: "steps",
    eval_steps: 100,
    save_steps: STEPS,
  };
  const code = await main(["sft", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)])]);
  if (code !== 0) return code;
  const lines = (await readFile(`${FOLDER}/run/metrics.jsonl`, "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const first = lines.find((line) => "loss" in line);
  const last = lines.findLast((line) => "eval_loss" in line);
  console.log(`
Loss fell from ${first.loss.toFixed(2)} to ${last.eval_loss.toFixed(2)} on 300 sums that were not trained on; ${Math.round(100 * last.eval_mean_token_accuracy)} % of their answers' characters are right.
Curves: ${FOLDER}/run/report.html

Next, a real checkpoint:
  npx qwench sft --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --dataset_name openai/gsm8k --dataset_config main --learning_rate 2e-4 --max_length 512 --output_dir qwench-gsm8k
  npx qwench sft --help`);
  return 0;
}

start().then((code) => {
  process.exitCode = code;
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
});
