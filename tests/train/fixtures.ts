import { type CheckpointSpec, SPECS, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { openSafetensors, toFloat32 } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { parseRecipe, type SftRecipe } from "../../src/recipe/recipe.ts";
import { loadSft, type PreparedSft, prepareSft, sft } from "../../src/session/sft.ts";
import { fnvNumbers, lcg } from "../../src/text/hash.ts";
import type { Trainee } from "../../src/train/checkpoint.ts";
import type { LogRecord } from "../../src/train/metrics.ts";
import type { SftEvent } from "../../src/train/sft/sft.ts";

/** Two layers and 256 tokens; weights large enough that the distribution is not uniform. */
export const TINY: CheckpointSpec = { ...SPECS.tiny, vocab_size: 256, initializer_range: 0.1 };

/** Two delta nets and gated attention between them, value heads over fewer key heads, rotary on half a head. The delta nets' kernels are those of the golden model. */
export const TINY_QWEN35: CheckpointSpec = {
  model_type: "qwen3_5_text",
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 16,
  linear_value_head_dim: 16,
  full_attention_interval: 2,
  partial_rotary_factor: 0.5,
  vocab_size: 256,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.2,
};

/** A random checkpoint in memory. */
export async function tinyModel(spec: CheckpointSpec = TINY, seed = 1): Promise<Folder> {
  const folder = memoryFolder("tiny");
  await writeRandomCheckpoint(folder, spec, seed);
  return folder;
}

/** Reproducible pseudo-random integers below a bound. */
export function integers(seed: number): (below: number) => number {
  const next = lcg(seed);
  return (below) => Math.floor((next() / 2 ** 32) * below);
}

/** Rows of tokens between `shortest` and `longest`, the first third of each without labels. */
export function tinyRows(count: number, { seed = 7, shortest = 5, longest = 20, vocab = 256 } = {}): NumberedRow[] {
  const next = integers(seed);
  return Array.from({ length: count }, (_, i) => {
    const input_ids = Array.from({ length: shortest + next(longest - shortest + 1) }, () => next(vocab));
    const labels = input_ids.map((id, t) => (t < input_ids.length / 3 ? -100 : id));
    return { row: { input_ids, labels }, number: i + 1, file: "rows.jsonl" };
  });
}

/** A recipe for quick runs: every step logged, nothing saved except on request. */
export function recipeOf(values: Record<string, unknown> = {}): SftRecipe {
  const base = {
    per_device_train_batch_size: 4,
    max_steps: 10,
    logging_steps: 1,
    save_strategy: "no",
    learning_rate: 1e-2,
    lora_r: 4,
    output_dir: "out",
  };
  return parseRecipe({ ...base, ...values }, "sft").recipe;
}

export interface Run {
  recipe: SftRecipe;
  model?: Folder;
  adapter?: Folder | null;
  rows?: NumberedRow[];
  evalRows?: NumberedRow[] | null;
  output?: Folder;
  resume?: true | Folder | null;
  signal?: AbortSignal;
  /** return true to leave the loop, like a killed process */
  onEvent?: (event: SftEvent, run: { prepared: PreparedSft; trainee: Trainee }) => boolean | undefined;
}

export interface RunResult {
  prepared: PreparedSft;
  trainee: Trainee;
  output: Folder;
  events: SftEvent[];
  logs: LogRecord[];
  evals: LogRecord[];
}

/** A whole run, with all checkpoints and the result. */
export async function train(gpu: Gpu, run: Run): Promise<RunResult> {
  const { recipe, adapter, evalRows = null, output = memoryFolder("out"), resume = null, signal } = run;
  const model = run.model ?? (await tinyModel());
  const sources = { gpu, model, adapter, train: run.rows ?? tinyRows(40), eval: evalRows, signal };
  const prepared = await prepareSft(recipe, sources);
  const trainee = await loadSft(recipe, prepared, sources, "tiny");
  const events: SftEvent[] = [];
  for await (const event of sft(trainee, prepared.data, recipe, { output, resume, signal })) {
    events.push(event);
    if (run.onEvent?.(event, { prepared, trainee })) break;
  }
  await gpu.settle();
  const records = (type: "log" | "eval") => events.flatMap((event) => (event.type === type ? [event.record] : []));
  return { prepared, trainee, output, events, logs: records("log"), evals: records("eval") };
}

/** The fields of a log except times. */
export function learnt(logs: readonly LogRecord[]): string[] {
  return logs.map(({ tokens_per_second: _, eval_runtime: __, ...rest }) => JSON.stringify(rest));
}

/** All tensors of a safetensors file as f32. */
export async function tensorsOf(folder: Folder, name: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(await folder.open(name));
  const out = new Map<string, Float32Array>();
  for (const [key, { dtype }] of file.tensors) out.set(key, toFloat32(await file.read(key), dtype));
  return out;
}

/** Every file of a folder and its subfolders, as hex of FNV-1a and length: equal when nothing changed. */
export async function contents(folder: Folder, prefix = ""): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    const hash = fnvNumbers(await source.read(0, source.size));
    found[prefix + name] = `${source.size} ${(hash >>> 0).toString(16)}`;
  }
  for (const name of await folder.folders())
    Object.assign(found, await contents(folder.folder(name), `${prefix}${name}/`));
  return found;
}
