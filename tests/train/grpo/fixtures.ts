import { type CheckpointSpec, SPECS, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import type { NumberedRow } from "../../../src/data/rows.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { type GrpoRecipe, parseRecipe } from "../../../src/recipe/recipe.ts";
import { eachCompletion, type NamedReward } from "../../../src/rewards/reward.ts";
import { type GrpoEvent, grpo, loadGrpo, type PreparedGrpo, prepareGrpo } from "../../../src/session/grpo.ts";
import type { Trainee } from "../../../src/train/checkpoint.ts";
import type { LogRecord } from "../../../src/train/metrics.ts";

const SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const TEMPLATE =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** The 256 characters that stand for bytes in byte-level BPE. */
function byteCharacters(): string[] {
  const plain = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(plain(b) ? b : next++));
}

/** A folder with a random model of two layers and a tokenizer whose tokens are bytes and ChatML's special ones. */
export async function tinyChatModel(
  eos: number | number[] = 258,
  seed = 1,
  spec: CheckpointSpec = { ...SPECS.tiny, initializer_range: 0.1 },
): Promise<Folder> {
  const folder = memoryFolder("tiny");
  await writeRandomCheckpoint(folder, { ...spec, vocab_size: 264 }, seed);
  const vocab = Object.fromEntries(byteCharacters().map((c, i) => [c, i]));
  const added_tokens = SPECIAL.map((content, i) => ({
    id: 256 + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  const tokenizer = {
    version: "1.0",
    added_tokens,
    normalizer: { type: "NFC" },
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab, merges: [] },
  };
  await folder.write("tokenizer.json", JSON.stringify(tokenizer));
  await folder.write(
    "tokenizer_config.json",
    JSON.stringify({ eos_token: "<|im_end|>", pad_token: "<|endoftext|>", chat_template: TEMPLATE }),
  );
  await folder.write("generation_config.json", JSON.stringify({ eos_token_id: eos }));
  return folder;
}

/** Sums in GSM8K's format. */
export function sums(count: number): NumberedRow[] {
  return Array.from({ length: count }, (_, i) => ({
    row: { question: `${i}+1=`, answer: `#### ${i + 1}` },
    number: i + 1,
    file: "sums.jsonl",
  }));
}

/** 1 for each byte that is a small letter: a random model has something to learn within a few steps. */
export const letters: NamedReward = {
  name: "letters",
  reward: eachCompletion((text) => [...text].filter((c) => c >= "a" && c <= "z").length),
};

/** A recipe for quick runs: every step logged, nothing saved except on request. */
export function grpoRecipe(values: Record<string, unknown> = {}): GrpoRecipe {
  const base = {
    per_device_train_batch_size: 8,
    num_generations: 4,
    max_completion_length: 6,
    max_steps: 4,
    logging_steps: 1,
    save_strategy: "no",
    learning_rate: 1e-2,
    lora_r: 4,
    lora_dropout: 0,
    output_dir: "out",
    reward_funcs: ["letters"],
  };
  return parseRecipe({ ...base, ...values }, "grpo").recipe;
}

export interface GrpoRun {
  recipe: GrpoRecipe;
  model?: Folder;
  adapter?: Folder | null;
  rows?: NumberedRow[];
  evalRows?: NumberedRow[] | null;
  rewards?: NamedReward[];
  output?: Folder;
  resume?: true | Folder | null;
  signal?: AbortSignal;
  /** return true to leave the loop, like a killed process */
  onEvent?: (event: GrpoEvent, run: { prepared: PreparedGrpo; trainee: Trainee }) => boolean | undefined;
}

/** A whole run, with all checkpoints and the result. */
export async function trainGrpo(gpu: Gpu, run: GrpoRun) {
  const { recipe, output = memoryFolder("out"), resume = null, signal } = run;
  const model = run.model ?? (await tinyChatModel());
  const sources = {
    gpu,
    model,
    adapter: run.adapter ?? null,
    train: run.rows ?? sums(20),
    eval: run.evalRows ?? null,
    rewards: run.rewards ?? [letters],
    signal,
  };
  const prepared = await prepareGrpo(recipe, sources);
  const trainee = await loadGrpo(recipe, prepared, sources, "tiny");
  const events: GrpoEvent[] = [];
  for await (const event of grpo(trainee, prepared.data, recipe, { output, resume, signal })) {
    events.push(event);
    if (run.onEvent?.(event, { prepared, trainee })) break;
  }
  await gpu.settle();
  const records = (type: "log" | "eval"): LogRecord[] =>
    events.flatMap((event) => (event.type === type ? [event.record] : []));
  return { prepared, trainee, output, events, logs: records("log"), evals: records("eval") };
}

/** The fields of a log except times. */
export function learntGrpo(logs: readonly LogRecord[]): string[] {
  return logs.map(({ step_time: _, eval_runtime: __, ...rest }) => JSON.stringify(rest));
}
